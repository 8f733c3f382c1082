"""Contracts about imports: late only where it saves time, and arrows between the rooms of the pipeline one way."""

import subprocess
import sys
from pathlib import Path

import pytest
from imports import ROOT, imported, in_circles, in_functions, loaded_by, names, slow_packages

from pipeline import SLOW

PIPELINE = ROOT / "pipeline"
STAGES = sorted(path.stem for path in PIPELINE.glob("[a-z]*.py"))
STARTED = [
    "capsnet",
    *(f"pipeline.{stage}" for stage in STAGES),
    *(f"pipeline.apps.{path.stem}" for path in sorted((PIPELINE / "apps").glob("[a-z]*.py"))),
]
FILES = sorted(PIPELINE.rglob("*.py"))
LIBRARY = sorted((ROOT / "capsnet").rglob("*.py"))
# What the library imports late: see capsnet/__init__.py.
LATE = {"torch.distributed", "torch.nn.parallel", "onnxruntime", "capsnet.kernels.triton_routing"}
LATE_IN_SOURCES = {"torch", "torch.nn.functional"}
# Which other rooms of the pipeline a room may import.
ROOMS = {
    "settings": {"runtime"},
    "runtime": set[str](),
    "tracking": {"runtime"},
    "training": {"runtime", "settings", "tracking"},
    "scoring": {"runtime", "settings"},
    "searching": {"drawing", "runtime", "settings", "tracking"},
    "drawing": {"runtime", "settings", "tracking"},
    "reporting": {"runtime", "settings", "drawing"},
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_import_is_in_a_function_only_if_it_loads_a_slow_package(path: Path) -> None:
    """And only one that the top of the file has not loaded: see pipeline/__init__.py."""
    needless = [node for node in in_functions(path) if not loaded_by(node) - slow_packages(path)]
    assert [node.lineno for node in needless] == []


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_imports_late_only_what_its_convention_names(path: Path) -> None:
    late = LATE | LATE_IN_SOURCES if path.parent.name == "sources" else LATE
    assert [node.lineno for node in in_functions(path) if not late & {*names(node)}] == []


def test_a_module_that_a_person_starts_prints_nothing_and_loads_no_slow_package() -> None:
    code = f"import sys\nfor module in {STARTED}: __import__(module); print(module, {set(SLOW)} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [f"{module} set()" for module in STARTED]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_stage_and_only_rooms_below_it(room: str) -> None:
    found = {
        module.split(".")[1]
        for path in (PIPELINE / room).rglob("*.py")
        for module in imported(path)
        if module.startswith("pipeline.")
    }
    assert found - {room, "SLOW"} <= ROOMS[room]


def test_no_two_files_of_the_pipeline_import_each_other_directly_or_through_others() -> None:
    # What a package offers is defined in its files: __init__.py only lists it.
    assert in_circles([path for path in FILES if path.name != "__init__.py"]) == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_no_other_stage(stage: str) -> None:
    assert not {f"pipeline.{other}" for other in STAGES} & {*imported(PIPELINE / f"{stage}.py")}
