"""Trials that cost nothing, and an Optuna that is quiet."""

from collections.abc import Iterator

import optuna
import pytest
from searches import train_nothing


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
