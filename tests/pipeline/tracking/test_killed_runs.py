"""A training that was killed and is not started again: its runs end as KILLED when another stage records."""

import threading
import time
from pathlib import Path

import pytest
from lost_store import query
from tiny_project import ROOT

from pipeline.runtime.command_line import run_stage
from pipeline.runtime.locks import LOCK, try_lock
from pipeline.runtime.scratch import left_by_kills, note_closed, scratch, scratch_folder
from pipeline.runtime.stopping import DVC_STAGE
from pipeline.runtime.workspace import owner
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


def test_the_runs_of_a_killed_training_end_when_a_stage_of_dvc_that_records_nothing_has_ended(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    training = scratch("train", "x", OUT, "f")
    folder = training.__enter__()
    left = leave_open()
    training.gen.close()  # type: ignore[attr-defined]
    run_stage(lambda: None)  # a person started it
    assert states() == {"all": "RUNNING", "seed 0": "RUNNING"}
    monkeypatch.setenv(DVC_STAGE, "tabulate@toy-decoders")
    run_stage(lambda: None)
    assert states() == {"all": "KILLED", "seed 0": "KILLED"}
    assert folder.exists()  # the training can still go on from there
    assert left_by_kills("train") == []  # the next stage need not ask the store
    assert left


def test_a_training_continues_its_runs_although_another_stage_has_ended_them_meanwhile(store: Path) -> None:
    training = scratch("train", "x", OUT, "f")
    training.__enter__()
    left = leave_open()
    training.gen.close()  # type: ignore[attr-defined]
    deliver_left(open_client())
    assert states() == {"all": "KILLED", "seed 0": "KILLED"}
    with (
        record_run("test", "all", tags=TAGS, resume=True) as runs,
        record_run("test", "seed 0", tags={**TAGS, "kind": "seed", "seed": 0}, parent=runs, resume=True),
    ):
        pass
    assert query("select name, status from runs order by name") == [("all", "FINISHED"), ("seed 0", "FINISHED")]
    assert left


def test_a_training_that_is_killed_once_more_is_looked_at_once_more(store: Path) -> None:
    for _ in range(2):
        training = scratch("train", "x", OUT, "f")
        folder = training.__enter__()
        assert left_by_kills("train") == []  # it holds its lock
        note_closed(folder)
        training.gen.close()  # type: ignore[attr-defined]
        assert left_by_kills("train") == [folder]
        note_closed(folder)
        assert left_by_kills("train") == []


def test_a_stage_that_looks_whether_a_training_was_killed_keeps_no_training_from_starting(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = scratch_folder("train", "x", owner(OUT), "f") / LOCK
    held = try_lock(path)
    assert held is not None
    monkeypatch.setattr("time.sleep", lambda _: held.close())  # it has looked
    with scratch("train", "x", OUT, "f") as folder:
        assert folder == path.parent


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
    monkeypatch.setattr(outbox, "end_runs_of_killed", lambda _: time.sleep(0.5))
    monkeypatch.setattr(outbox, "_said", threading.Event())
    deliver_left(client)
    assert "has not answered for 0.01 s" in capsys.readouterr().err
