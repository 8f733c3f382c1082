"""A store that cannot be used for a while, and what is recorded meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stored import select

from pipeline.runtime.workspace import SCRATCH
from pipeline.tracking import outbox
from pipeline.tracking import store as tracking_store
from pipeline.tracking.mlflow_run import record_run

TAGS = {"stage": "train", "output": "models/x", "fingerprint": "f", "kind": "run"}


@contextmanager
def away(store: Path) -> Iterator[None]:
    """Let the store be unusable for the block."""
    hidden = store.with_name("hidden.db")
    store.rename(hidden)
    store.mkdir()
    try:
        yield
    finally:
        store.rmdir()
        hidden.rename(store)


def openings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that gets the file of the sqlite store each time that it is opened."""
    opened: list[Path] = []
    correct = tracking_store.correct_artifact_locations

    def note(file: Path, artifacts: str) -> list[str]:
        opened.append(file)
        return correct(file, artifacts)

    monkeypatch.setattr(tracking_store, "correct_artifact_locations", note)
    return opened


def query(statement: str) -> list[tuple[Any, ...]]:
    return select(Path("mlflow.db"), statement)


def waiting() -> list[Path]:
    return [path for path in (Path(SCRATCH) / outbox.UNRECORDED).rglob("*") if path.is_file()]


def record() -> None:
    """Record a run with a child, and files that are moved afterwards."""
    Path("history.csv").write_text("epoch\n")
    with record_run("test", "parent", tags=TAGS, settings={"lr": 0.1}) as parent:
        with record_run("test", "child", tags={**TAGS, "kind": "seed"}, parent=parent) as child:
            child.log(1, {"train_loss": 1.0})
            child.tag({"model": "m"})
        parent.attach(Path("history.csv"))
        Path("history.csv").rename("moved.csv")
    Path("moved.csv").unlink()


def assert_recorded() -> None:
    assert query("select name, status from runs order by name") == [("child", "FINISHED"), ("parent", "FINISHED")]
    assert query("select name, value, step from metrics join runs using (run_uuid) where key = 'train_loss'") == [
        ("child", 1.0, 1)
    ]
    assert query("select key, value from params") == [("lr", "0.1")]
    assert query("select value from tags where key = 'mlflow.parentRunId'") == query(
        "select run_uuid from runs where name = 'parent'"
    )
    assert [path.read_text() for path in Path("mlartifacts").rglob("history.csv")] == ["epoch\n"]
    assert waiting() == []
