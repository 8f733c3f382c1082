"""A small study that was made once, as a user makes it, and copies of it."""

import os
from pathlib import Path

import pytest
from small_study import SmallStudy

from pipeline.runtime.locks import lock


def make(folder: Path) -> SmallStudy:
    """Make two studies, of which `toy` is made and committed."""
    study = SmallStudy(folder)
    study.make()
    study.call("dvc", "repro", "report@toy")
    study.commit("Make the study")
    return study


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """Two studies of which `toy` was made and committed. Only for commands that change nothing."""
    own = tmp_path_factory.mktemp("doors") / "study"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make(own)
    shared = tmp_path_factory.getbasetemp().parent / "doors"  # by the workers of pytest: the first one makes it
    with lock(shared / "lock"):
        if not (shared / "made").exists():
            make(shared / "study")
            (shared / "made").touch()
        study = SmallStudy(shared / "study").copied(own)
    study.call("python", "-m", "pipeline.apps.record")  # its store notes where it lies now
    return study


@pytest.fixture
def study(made: SmallStudy, tmp_path: Path) -> SmallStudy:
    """A copy of the study that was made."""
    return made.copied(tmp_path / "study")
