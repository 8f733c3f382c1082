"""Tracking records and never ends a training; it nests where it should."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stored import select
from tiny_project import ROOT

from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import NoRecorder

TAGS = {"stage": "train", "output": "models/x", "fingerprint": "f", "kind": "run"}


def query(statement: str) -> list[tuple[object, ...]]:
    return select(Path("mlflow.db"), statement)


def test_a_run_that_raises_is_failed_and_an_interrupted_one_killed(project: Path) -> None:
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), record_run("test", error.__name__, tags=TAGS):
            raise error
    assert query("select name, status from runs order by name") == [
        ("KeyboardInterrupt", "KILLED"),
        ("RuntimeError", "FAILED"),
    ]


def test_a_run_started_by_mlflow_run_becomes_the_parent(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with record_run("test", "outer", tags=TAGS) as outer:
        ((experiment,),) = query("select experiment_id from runs")
        monkeypatch.setenv("MLFLOW_RUN_ID", outer.id)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", str(experiment))
        with record_run("another", "inner", tags=TAGS):
            pass
    assert query("select value from tags where key = 'mlflow.parentRunId'") == [(outer.id,)]
    assert len(set(query("select experiment_id from runs"))) == 1


@pytest.mark.slow
def test_processes_that_start_together_share_one_new_store(project: Path) -> None:
    code = """from pipeline.tracking.mlflow_run import record_run
with record_run("test", "x", tags={"kind": "run"}) as run:
    run.log(1, {"a": 1.0})"""
    started = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}) for _ in range(3)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    assert query("select count(*) from runs where status = 'FINISHED'") == [(3,)]


def test_a_resumed_run_records_each_step_once(project: Path) -> None:
    left = record_run("test", "x", tags=TAGS, resume=True)
    left.__enter__().log(1, {"train_loss": 1.0})
    with record_run("test", "x", tags=TAGS, resume=True) as again:
        again.log(1, {"train_loss": 5.0})
        again.log(2, {"train_loss": 2.0})
    losses = query("select step, value from metrics where key = 'train_loss' order by step")
    assert losses == [(1, 1.0), (2, 2.0)]
    assert query("select name, status from runs") == [("x", "FINISHED")]


def test_a_recorder_that_records_nothing_takes_everything_for_its_children_too(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with record_run("test", "child", tags=TAGS, parent=NoRecorder()) as run:
        run.log(1, {"loss": 1.0})
        run.tag({"stage": "train"})
        run.attach(project / "history.csv")
        run.log_model(project / "seed-0.safetensors")
    assert capsys.readouterr() == ("", "")
    assert not Path("mlflow.db").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_was_left_open_for_the_same_output_is_killed(resume: bool, project: Path) -> None:
    """Its process was killed with -9: the block never ended."""
    left = [record_run("test", "left", tags={**TAGS, "output": output}) for output in ("models/o'brien", "models/x")]
    for each in left:
        each.__enter__()
    with record_run("test", "new", tags={**TAGS, "output": "models/o'brien", "fingerprint": "g"}, resume=resume):
        pass
    assert query(
        "select name, status, value from runs join tags using (run_uuid) where key = 'output' order by name, value"
    ) == [
        ("left", "KILLED", "models/o'brien"),
        ("left", "RUNNING", "models/x"),
        ("new", "FINISHED", "models/o'brien"),
    ]


def test_an_experiment_neither_ends_nor_takes_up_what_the_workspace_left_open(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs in a folder of its own, with the store of the project."""
    tags = {**TAGS, "output": "models/x"}
    left = record_run("test", "left", tags=tags, resume=True)
    left.__enter__()
    with monkeypatch.context() as patch:
        experiment = project / ".dvc/tmp/exps/tmp1"
        experiment.mkdir(parents=True)
        patch.chdir(experiment)
        patch.setenv("DVC_ROOT", str(project))
        patch.setenv("DVC_EXP_NAME", "brisk-otter")
        for fingerprint in ("f", "g"):
            with record_run("test", f"theirs {fingerprint}", tags={**tags, "fingerprint": fingerprint}, resume=True):
                pass
    states = "select name, status from runs order by name"
    assert query(states) == [("left", "RUNNING"), ("theirs f", "FINISHED"), ("theirs g", "FINISHED")]
    with record_run("test", "again", tags=tags, resume=True):
        pass
    assert query(states) == [("left", "FINISHED"), ("theirs f", "FINISHED"), ("theirs g", "FINISHED")]
