"""A small study that was made once, as a user makes it, and copies of it."""

from pathlib import Path

import pytest
from small_study import SmallStudy


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """Two studies of which `toy` was made and committed. Only for commands that change nothing."""
    study = SmallStudy(tmp_path_factory.mktemp("doors") / "study")
    study.make()
    study.call("dvc", "repro", "report@toy")
    study.commit("Make the study")
    return study


@pytest.fixture
def study(made: SmallStudy, tmp_path: Path) -> SmallStudy:
    """A copy of the study that was made."""
    return made.copied(tmp_path / "study")
