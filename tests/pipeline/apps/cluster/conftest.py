"""The project of errands of tests/support/errands.py as fixtures."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from errands import Errands


@pytest.fixture
def errands(tmp_path: Path) -> Iterator[Errands]:
    """A project of errands in which nothing was done yet."""
    made = Errands(tmp_path / "errands")
    made.make()
    yield made
    for process in made.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        with suppress(ValueError):
            process.communicate(timeout=30)


@pytest.fixture(scope="session")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What `dvc repro` makes of the project of errands."""
    project = Errands(tmp_path_factory.mktemp("sequential") / "errands")
    project.make()
    project.call("dvc", "repro")
    return project.made()
