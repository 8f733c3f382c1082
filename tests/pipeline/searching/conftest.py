"""Trials that cost nothing, and an Optuna that is quiet."""

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from searches import train_nothing
from sharing import GRACE_HERE

from pipeline.searching.storage import GRACE, STORAGE


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials do not train: their accuracy is computed from alpha, lr and epoch."""
    monkeypatch.setattr("pipeline.searching.trial.train", train_nothing)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def shared(request: pytest.FixtureRequest, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty database that processes share."""
    url = f"sqlite:///{project}/optuna.db" if request.param == "sqlite" else request.getfixturevalue("database")
    monkeypatch.setenv(STORAGE, url)
    monkeypatch.setenv(GRACE, str(GRACE_HERE))
