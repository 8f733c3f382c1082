"""Trials that cost nothing."""

import pytest
from searches import train_nothing


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials do not train: their accuracy is computed from alpha, lr and epoch."""
    monkeypatch.setattr("pipeline.searching.trial.train", train_nothing)
