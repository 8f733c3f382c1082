"""What a file of the project imports, read from its text."""

import ast
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

from pipeline import SLOW

ROOT = Path(__file__).parents[2]
Import = ast.Import | ast.ImportFrom


def imported(path: Path) -> Iterator[str]:
    """Every module named in an import of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Import):
            yield from names(node)


def names(node: Import) -> Iterator[str]:
    """The modules that an import may mean: `from a import b` may mean a or a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def neighbours(path: Path, files: Collection[Path]) -> set[Path]:
    """Those of some files that a file imports, wherever the import stands."""
    targets = {target for module in imported(path) if (target := file_of(module))}
    return {target for target in targets if target in files and target != path}


def in_circles(files: Collection[Path]) -> set[Path]:
    """Those of some files that import each other, directly or through others, and all files that import these."""
    remaining = {path: neighbours(path, files) for path in files}
    while free := {path for path, targets in remaining.items() if not targets & remaining.keys()}:
        remaining = {path: targets for path, targets in remaining.items() if path not in free}
    return {*remaining}


def at_the_top(body: Iterable[ast.AST]) -> Iterator[Import]:
    """The imports that run when the file is imported."""
    for node in body:
        if isinstance(node, Import):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from at_the_top(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.Lambda):
            yield from at_the_top(ast.iter_child_nodes(node))


def in_functions(path: Path) -> Iterator[Import]:
    """The imports that run when a function is called."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            yield from (node for node in ast.walk(function) if isinstance(node, Import))


@cache
def slow_packages(path: Path) -> frozenset[str]:
    """The slow packages that a file loads when it is imported."""
    return frozenset().union(*map(loaded_by, at_the_top(ast.parse(path.read_text()).body)))


def loaded_by(node: Import) -> frozenset[str]:
    """The slow packages that an import loads."""
    found: frozenset[str] = frozenset()
    for module in names(node):
        found |= {module.split(".")[0]} & set(SLOW)
        found |= frozenset().union(*(slow_packages(file) for file in [file_of(module)] if file))
    return found
