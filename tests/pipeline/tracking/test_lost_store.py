"""A store that is lost while a stage records: one line, the work goes on, and the record catches up."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lost_store import TAGS, assert_recorded, away, query, record, waiting

from pipeline.tracking import outbox
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import MlflowRecorder
from pipeline.tracking.store import open_client


def test_a_store_that_is_lost_in_the_middle_of_a_training_has_everything_at_its_end(
    store: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline import train

    gone = away(store)
    log = MlflowRecorder.log

    def lose(self: MlflowRecorder, step: int, values: dict[str, float]) -> None:
        if step == 2 and store.is_file():
            gone.__enter__()
        log(self, step, values)

    attach = MlflowRecorder.attach

    def find(self: MlflowRecorder, *paths: Path, folder: str | None = None) -> None:
        attach(self, *paths, folder=folder)
        gone.__exit__(None, None, None)

    monkeypatch.setattr(MlflowRecorder, "log", lose)
    monkeypatch.setattr(MlflowRecorder, "attach", find)
    train.main(["toy-fc"])
    said = [line for line in capsys.readouterr().err.splitlines() if "MLflow" in line]
    assert len(said) == 1
    assert said[0].startswith("warning: MLflow: sqlite:")
    assert said[0].endswith(outbox.GOES_ON)
    assert query("select distinct status from runs") == [("FINISHED",)]
    assert query("select step, count(*) from metrics where key = 'train_loss' group by step") == [(1, 2), (2, 2)]
    assert query("select count(*) from tags where key = 'model'") == [(2,)]
    assert len([*Path("mlartifacts").rglob("history.csv")]) == 1
    assert len([*Path("mlartifacts").rglob("seed-*.safetensors")]) == 2
    assert waiting() == []


def test_what_mlflow_itself_logs_about_a_lost_store_is_not_shown(
    store: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a traceback at each attempt."""
    with record_run("test", "x", tags=TAGS) as run:
        monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
        with away(store):
            run.log(1, {"loss": 1.0})
    assert caplog.records == []


def test_an_experiment_that_is_deleted_while_the_store_is_away_ends_no_training(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with record_run("test", "first", tags=TAGS):
        pass
    client = open_client()
    gone = away(store)
    gone.__enter__()
    with record_run("test", "second", tags=TAGS) as run:
        gone.__exit__(None, None, None)
        client.delete_experiment("1")
        run.log(1, {"loss": 1.0})
    assert capsys.readouterr().err.count("\n") == 1
    client.restore_experiment("1")
    outbox.open_delivery()
    assert query("select name, status from runs") == [("first", "FINISHED"), ("second", "FINISHED")]


def test_a_store_that_was_deleted_is_made_anew_with_all_of_the_run(store: Path) -> None:
    with (
        record_run("test", "parent", tags=TAGS, settings={"lr": 0.1}) as parent,
        record_run("test", "child", tags={**TAGS, "kind": "seed"}, parent=parent) as child,
    ):
        child.log(1, {"train_loss": 1.0})
        store.unlink()
        child.log(2, {"train_loss": 2.0})
    assert query("select name, status from runs order by name") == [("child", "FINISHED"), ("parent", "FINISHED")]
    assert query("select step, value from metrics where key = 'train_loss' order by step") == [(1, 1.0), (2, 2.0)]
    assert query("select key, value from params") == [("lr", "0.1")]


def test_files_that_cannot_be_written_hold_up_neither_numbers_nor_the_status(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mlartifacts").write_text("not a folder")
    record()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "mlartifacts" in said
    assert query("select distinct status from runs") == [("FINISHED",)]
    Path("mlartifacts").unlink()
    outbox.open_delivery()
    assert_recorded()


def test_a_run_whose_creation_was_not_answered_is_created_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    create_run = MlflowClient.create_run

    def unanswered(*arguments: Any, **named: Any) -> None:
        create_run(*arguments, **named)
        monkeypatch.setattr(MlflowClient, "create_run", create_run)
        raise ConnectionError("timed out")

    monkeypatch.setattr(MlflowClient, "create_run", unanswered)
    record()
    assert_recorded()


def test_a_run_that_a_person_deletes_is_not_recorded_and_the_others_are(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with record_run("test", "deleted", tags=TAGS) as run:
        assert isinstance(run, MlflowRecorder)
        run.client.delete_run(run.id)
        run.log(1, {"loss": 1.0})
        with record_run("test", "child", tags=TAGS, parent=run) as child:
            child.log(1, {"loss": 2.0})
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("warning: MLflow refuses it: ")
    assert query("select value from metrics where key = 'loss'") == [(2.0,)]
    assert query("select status from runs where name = 'child'") == [("FINISHED",)]
    assert waiting() == []


def test_a_store_that_does_not_answer_is_named_before_it_has_failed(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(outbox, "PATIENCE", 0.05)
    lines: list[str] = []
    log_batch: Callable[..., None] = MlflowClient.log_batch

    def slow(self: MlflowClient, *arguments: Any, **named: Any) -> None:
        if named.get("metrics"):
            time.sleep(0.5)
            lines.append(capsys.readouterr().err)
        log_batch(self, *arguments, **named)

    with record_run("test", "x", tags=TAGS) as run:
        capsys.readouterr()
        monkeypatch.setattr(outbox, "_said", type(outbox._said)())
        monkeypatch.setattr(MlflowClient, "log_batch", slow)
        run.log(1, {"loss": 1.0})
    assert lines[0] == f"warning: MLflow: sqlite:///{store} has not answered for 0.05 s; {outbox.GOES_ON}\n"
    assert query("select key from metrics where key = 'loss'") == [("loss",)]
