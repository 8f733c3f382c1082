"""A store that is lost while a stage records: one line, the work goes on, and the record catches up."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stored import select

from pipeline.runtime.workspace import SCRATCH
from pipeline.tracking import outbox
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.moved_artifacts import correct_artifact_locations
from pipeline.tracking.recorder import MlflowRecorder
from pipeline.tracking.store import ARTIFACTS, open_client

TAGS = {"stage": "train", "output": "models/x", "fingerprint": "f", "kind": "run"}


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        open_client()
    return folder / "mlflow.db"


@pytest.fixture
def store(empty_store: Path, project: Path) -> Path:
    """The store of the project: making one takes seconds."""
    store = Path(shutil.copy(empty_store, project))
    correct_artifact_locations(store, ARTIFACTS)
    return store


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


def query(statement: str) -> list[tuple[Any, ...]]:
    return select(Path("mlflow.db"), statement)


def waiting() -> list[Path]:
    return [path for path in (Path(SCRATCH) / outbox.UNRECORDED).rglob("*") if path.is_file()]


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


def record(store: Path) -> None:
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


def test_what_the_store_never_took_is_written_when_the_next_stage_opens_it(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with away(store):
        record(store)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"warning: MLflow: sqlite:///{store} cannot be used: ")
    assert query("select count(*) from runs") == [(0,)]
    began = time.time() * 1000
    time.sleep(0.01)
    outbox.open_delivery()
    assert capsys.readouterr().err == "MLflow: recorded what was missing of parent, child\n"
    assert_recorded()
    times = query("select start_time, end_time from runs")
    assert all(start <= end <= began for start, end in times)  # when it happened, not when it was written


def test_a_process_that_is_killed_while_the_store_is_away_leaves_what_it_recorded(store: Path) -> None:
    """And a file whose last line is torn."""
    run = record_run("test", "trial", tags={"kind": "trial"})
    with away(store):
        recorder = run.__enter__()
        recorder.log(1, {"loss": 1.0})
        assert isinstance(recorder, MlflowRecorder)
        recorder._outbox.close()  # as the system does for a killed process
        (left,) = waiting()
        left.write_text(left.read_text() + '{"kind": "lo')
    outbox.open_delivery()
    assert query("select key, value from metrics") == [("loss", 1.0)]
    assert waiting() == []


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


def test_what_a_living_process_keeps_is_left_to_it(store: Path) -> None:
    with record_run("test", "x", tags={"kind": "run"}) as run:
        with away(store):
            run.log(1, {"loss": 1.0})
        outbox.open_delivery()
        assert len(waiting()) == 1
        assert query("select count(*) from metrics") == [(0,)]
    assert query("select key from metrics where key = 'loss'") == [("loss",)]


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
    record(store)
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
    record(store)
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


def test_a_late_record_ends_no_run_that_began_after_it(store: Path) -> None:
    with away(store), record_run("test", "late", tags=TAGS, resume=True):
        pass
    shutil.move(Path(SCRATCH) / outbox.UNRECORDED, "later")
    new = record_run("test", "new", tags={**TAGS, "fingerprint": "g"}, resume=True)
    new.__enter__()
    same = record_run("test", "same", tags={**TAGS, "output": "models/y"}, resume=True)
    same.__enter__()
    shutil.move("later", Path(SCRATCH) / outbox.UNRECORDED)
    outbox.open_delivery()
    states = query("select name, status from runs order by name")
    assert states == [("late", "FINISHED"), ("new", "RUNNING"), ("same", "RUNNING")]


def test_a_file_that_makes_no_sense_is_set_aside_and_holds_up_nothing(store: Path) -> None:
    folder = outbox.folder()
    folder.mkdir(parents=True)
    (folder / "1.jsonl").write_text(json.dumps({"kind": "log", "key": "k", "values": {}, "sent": False}) + "\n")
    with record_run("test", "x", tags=TAGS):
        pass
    assert query("select name, status from runs") == [("x", "FINISHED")]
    assert [path.name for path in waiting()] == ["1.refused"]


def test_what_waits_for_one_store_is_not_given_to_another(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with away(store):
        record(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(store, tmp_path / 'other.db')}")
    outbox.open_delivery()
    assert query("select count(*) from runs") == [(0,)]
    assert waiting() != []
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    outbox.open_delivery()
    assert_recorded()


def test_a_disk_on_which_nothing_can_be_kept_ends_no_stage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(SCRATCH) / outbox.UNRECORDED).parent.mkdir(exist_ok=True)
    (Path(SCRATCH) / outbox.UNRECORDED).write_text("not a folder")
    with record_run("test", "x", tags=TAGS) as run, away(store):
        run.log(1, {"loss": 1.0})
    assert query("select key from metrics where key = 'loss'") == [("loss",)]


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
