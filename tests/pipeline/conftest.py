"""The project of tests/support/tiny_project.py as fixtures, and empty stores of MLflow: one takes two seconds."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_study import write_results
from postgres import PostgresServer, programs, running_server
from tiny_project import make_project

from pipeline.tracking import outbox
from pipeline.tracking import store as tracking_store
from pipeline.tracking.moved_artifacts import correct_artifact_locations
from pipeline.tracking.new_store import make_store
from pipeline.tracking.store import ARTIFACTS


@pytest.fixture(autouse=True)
def _warns_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process warns once about a lost store; each test is a process of its own."""
    monkeypatch.setattr(outbox, "_said", threading.Event())


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without a run, to be copied."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    make_store(file)
    return file


def copy_store(empty: Path, file: Path) -> None:
    shutil.copyfile(empty, file)
    correct_artifact_locations(file, ARTIFACTS)


@pytest.fixture(autouse=True)
def _new_stores_are_copies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the tests makes one store only. Processes that a test starts make their own."""
    monkeypatch.setattr(
        tracking_store, "make_store", lambda file: copy_store(request.getfixturevalue("empty_store"), file)
    )


@pytest.fixture
def store(empty_store: Path, project: Path) -> Path:
    """The store of the project, with no run in it; a process that a test starts need not make one."""
    file = project / empty_store.name
    copy_store(empty_store, file)
    return file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project; the working directory is its folder."""
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path)


@pytest.fixture
def prepared(project: Path) -> Path:
    """The project with its data set prepared."""
    from pipeline import prepare

    prepare.main(["squares"])
    return project


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with made-up results, to be copied."""
    folder = make_project(tmp_path_factory.mktemp("results"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_results()
    return folder


@pytest.fixture
def study(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the results; the working directory is its folder."""
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; a test that needs one is left out where it is not installed."""
    if (binaries := programs()) is None:
        pytest.skip("needs the programs of a PostgreSQL server")
    with running_server(binaries) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    """Return the URL of an empty database."""
    return postgres.database()
