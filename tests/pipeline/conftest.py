"""The tiny project of tests/tiny_project.py as fixtures."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_study import write_results
from postgres import PostgresServer, programs, running_server
from tiny_project import make_project

from pipeline.tracking import outbox


@pytest.fixture(autouse=True)
def _warns_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process warns once about a lost store; each test is a process of its own."""
    monkeypatch.setattr(outbox, "_said", threading.Event())


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
