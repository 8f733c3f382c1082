"""The tiny project after all of its stages, made once."""

from pathlib import Path

import pytest
from every_stage import ORDER, run_stage
from like_a_gpu import Operations
from tiny_project import make_project

from pipeline.runtime.locks import lock

OPERATIONS = "operations.txt"  # beside the project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The project after all of its stages. All processes of the tests share it; the first that needs it makes it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "finished"
    asked = folder.with_name(OPERATIONS)
    with lock(folder.with_suffix(".lock")):
        if not asked.exists():
            folder.mkdir(exist_ok=True)  # another process may have failed to make it, and this one then says why
            asked.write_text("\n".join(sorted(_make(folder))))
    return folder


def _make(folder: Path) -> set[str]:
    """Run every stage in a new project, and return what torch was asked for."""
    operations = Operations()
    make_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "CAPSNET_OPTUNA_STORAGE"):
            patch.delenv(name, raising=False)
        for name, arguments in ORDER:
            with operations:
                run_stage(name, arguments)
    return operations.names


@pytest.fixture
def operations(finished: Path) -> set[str]:
    """What torch was asked for in the stages of the finished project."""
    return {*finished.with_name(OPERATIONS).read_text().splitlines()}


@pytest.fixture
def there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    return finished


@pytest.fixture
def mirror(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that downloads ask first."""
    folder = project / "mirror"
    folder.mkdir()
    monkeypatch.setenv("CAPSNET_MIRROR", str(folder))
    return folder
