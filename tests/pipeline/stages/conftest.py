"""The tiny project after all of its stages, made once."""

from pathlib import Path

import pytest
from every_stage import ORDER, run_stage
from like_a_gpu import Operations
from tiny_project import make_project


@pytest.fixture(scope="session")
def operations() -> Operations:
    """What torch was asked for in the stages of the finished project."""
    return Operations()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, operations: Operations) -> Path:
    """The project after all of its stages."""
    folder = make_project(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "CAPSNET_OPTUNA_STORAGE"):
            patch.delenv(name, raising=False)
        for name, arguments in ORDER:
            with operations:
                run_stage(name, arguments)
    return folder


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
