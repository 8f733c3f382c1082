"""A training that was killed and is not started again: its runs end as KILLED when another stage records."""

import threading
import time
from pathlib import Path

import pytest
from lost_store import query

from pipeline.runtime.scratch import scratch
from pipeline.tracking import outbox
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.outbox import deliver_left
from pipeline.tracking.store import open_client

OUT = Path("models/x")
TAGS = {"stage": "train", "run": "x", "output": OUT, "fingerprint": "f", "kind": "run"}


def states() -> dict[str, str]:
    return dict(query("select name, status from runs"))


def leave_open() -> list[object]:
    """Leave the runs of a training open, as a kill does, for as long as what is returned is kept."""
    runs = record_run("test", "all", tags=TAGS)
    seed = record_run("test", "seed 0", tags={**TAGS, "kind": "seed", "seed": 0}, parent=runs.__enter__())
    seed.__enter__()
    return [runs, seed]


def test_the_runs_of_a_killed_training_end_when_another_stage_records(store: Path) -> None:
    training = scratch("train", "x", OUT, "f")
    training.__enter__()
    left = leave_open()
    deliver_left(open_client())
    assert states() == {"all": "RUNNING", "seed 0": "RUNNING"}  # it holds its lock
    training.gen.close()  # type: ignore[attr-defined]
    with record_run("test", "other", tags={"stage": "evaluate", "kind": "run"}):
        pass
    assert states() == {"all": "KILLED", "seed 0": "KILLED", "other": "FINISHED"}
    assert left


def test_a_training_that_is_started_again_continues_its_run(store: Path) -> None:
    training = scratch("train", "x", OUT, "f")
    training.__enter__()
    left = leave_open()
    training.gen.close()  # type: ignore[attr-defined]
    with scratch("train", "x", OUT, "f"), record_run("test", "all", tags=TAGS, resume=True):
        deliver_left(open_client())
    assert query("select name, status from runs where name = 'all'") == [("all", "FINISHED")]
    assert left


def test_runs_whose_working_files_are_elsewhere_are_left_to_others(store: Path) -> None:
    left = leave_open()
    deliver_left(open_client())
    assert states() == {"all": "RUNNING", "seed 0": "RUNNING"}
    assert left


def test_a_store_that_does_not_say_which_runs_are_open_is_named_while_it_is_waited_for(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = open_client()
    monkeypatch.setattr(outbox, "PATIENCE", 0.01)
    monkeypatch.setattr(outbox, "end_killed", lambda _: time.sleep(0.5))
    monkeypatch.setattr(outbox, "_said", threading.Event())
    deliver_left(client)
    assert "has not answered for 0.01 s" in capsys.readouterr().err
