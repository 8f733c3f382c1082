"""A project with an empty store: making one takes seconds."""

import shutil
from pathlib import Path

import pytest

from pipeline.tracking.moved_artifacts import correct_artifact_locations
from pipeline.tracking.store import ARTIFACTS, open_client


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        open_client()
    return folder / "mlflow.db"


@pytest.fixture
def store(empty_store: Path, project: Path) -> Path:
    """The store of the project."""
    store = Path(shutil.copy(empty_store, project))
    correct_artifact_locations(store, ARTIFACTS)
    return store
