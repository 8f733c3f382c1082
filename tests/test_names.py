"""Contracts about names: one name for one thing, so that a search for a name finds one file, class or function."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from imports import ROOT

FILES = [path for folder in ("capsnet", "pipeline", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
# Python, pytest and `python -m` ask for these names.
NAMED_BY_OTHERS = {"__init__.py", "__main__.py", "conftest.py"}
# Folders that may have files of the same names.
SAME_NAMES = (
    {"capsnet/explain", "pipeline/drawing"},  # what is computed, and how it is drawn
    {"pipeline/reporting/tables", "pipeline/reporting/findings"},  # a table, and what it shows in sentences
)
# Further files with the name of a table: what the table compares, and the program that collects its rows.
OF_TABLES = {"capsnet/networks/decoders.py", "pipeline/apps/costs.py"}
# Functions that several files of the library offer under one name, so that any of these files can be used.
INTERFACES = {
    "capsnet/sources": {"read", "servers"},  # SourceModule in capsnet.sources.catalogue
    "capsnet/kernels": {"forward_pass", "backward_pass"},  # Passes in capsnet.networks.fused_routing
}


def classes(path: Path) -> Iterator[str]:
    """The public classes, type aliases and type variables that a file defines."""
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if not name.isupper() and name[0].isupper():
                    yield name


def functions(path: Path) -> Iterator[str]:
    """The public functions of the library that a file defines, without those of an interface."""
    of_interface = INTERFACES.get(str(path.parent.relative_to(ROOT)), set())
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name not in of_interface:
            yield node.name


def more_than_once(places: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: found for name, found in places.items() if len(found) > 1}


def test_each_file_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in FILES:
        place = str(path.relative_to(ROOT))
        if path.name not in NAMED_BY_OTHERS and place not in OF_TABLES:
            places[path.name].append(str(path.parent.relative_to(ROOT)))
    assert {name: found for name, found in more_than_once(places).items() if {*found} not in SAME_NAMES} == {}


def test_each_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in FILES:
        for name in classes(path):
            if not name.startswith("_"):
                places[name].append(str(path.relative_to(ROOT)))
    assert more_than_once(places) == {}


def test_each_function_of_the_library_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in FILES:
        if path.is_relative_to(ROOT / "capsnet"):
            for name in functions(path):
                places[name].append(str(path.relative_to(ROOT)))
    assert more_than_once(places) == {}


def test_the_exceptions_are_needed() -> None:
    tables = {path.name for path in (ROOT / "pipeline/reporting/tables").glob("*.py")}
    assert {Path(place).name for place in OF_TABLES} <= tables
    for pair in SAME_NAMES:
        first, second = ({path.name for path in (ROOT / folder).glob("*.py")} for folder in pair)
        assert first & second - NAMED_BY_OTHERS
