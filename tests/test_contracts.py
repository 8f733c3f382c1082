"""Contracts between files: import arrows, dvc.yaml's deps, params.yaml, names, the README's tables."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
# They check, lock, record and parse arguments; no result depends on them.
RESULT_FREE = {f"pipeline/{name}.py" for name in ("__init__", "config", "scratch", "stage", "tracking")}
FORBIDDEN = {"pipeline", "mlflow", "dvc", "optuna", "pandas", "yaml", "ruamel", "matplotlib", "argparse", "pydantic"}


def imported(path: Path) -> Iterator[str]:
    """Every module named in an import of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def needed(path: Path) -> set[str]:
    """The project's own files that a file needs, itself and the packages around them included."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        waiting += [package for parent in current.parents if (package := parent / "__init__.py").is_file()]
        # The public names of capsnet/__init__.py are imported on use, by whoever uses them.
        if current != ROOT / "capsnet" / "__init__.py":
            waiting += [target for module in imported(current) if (target := file_of(module))]
    return {str(each.relative_to(ROOT)) for each in found} - RESULT_FREE


@pytest.mark.parametrize("path", sorted((ROOT / "capsnet").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_knows_nothing_of_the_pipeline_and_its_tools(path: Path) -> None:
    assert not {module.split(".")[0] for module in imported(path)} & FORBIDDEN


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_every_file_that_it_imports(name: str) -> None:
    declared = {dep for dep in STAGES[name]["do"]["deps"] if dep.endswith((".py", ".j2"))}
    expected = needed(ROOT / "pipeline" / f"{name.removesuffix('-tuned')}.py")
    if name == "report":
        expected |= {"pipeline/templates/report.html.j2"}
    assert sorted(declared) == sorted(expected)
