"""Stages killed with -9 and started again: the same bytes, the same trials, one MLflow run."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_project import ROOT, make_project, tiny_params, write_params

from pipeline.scratch import scratch

EPOCHS = 40


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*arguments: str) -> str:
    process = start(*arguments)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def kill_when(process: "subprocess.Popen[str]", reached: Callable[[list[Path]], bool], pattern: str) -> None:
    """Kill -9 as soon as `reached(paths)` for the files that match."""
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if reached(sorted(Path(".scratch").glob(pattern))):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, f"ended before it was killed: {said}"


def epochs_done(at_least: int) -> Callable[[list[Path]], bool]:
    """Tell when a training state has come that far."""
    from capsnet.checkpoint import read_history

    return lambda paths: any(len(read_history(path)) >= at_least for path in paths)


def query(statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect("mlflow.db") as store:
        return store.execute(statement).fetchall()


@pytest.fixture
def long_project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two equal projects with enough epochs to be killed in; the working directory is the first."""
    from pipeline import prepare

    params = tiny_params()
    for run in ("toy-fc", "toy-pairs"):
        params["runs"][run]["epochs"] = EPOCHS
    params["tune"]["toy"] |= {"trials": 6, "epochs": 4}
    folders = [make_project(tmp_path_factory.mktemp(name)) for name in ("broken", "whole")]
    for folder in folders:
        write_params(folder, params)
        monkeypatch.chdir(folder)
        prepare.main(["squares"])
    monkeypatch.chdir(folders[0])
    return folders[0], folders[1]


@pytest.mark.slow
@pytest.mark.parametrize("run", ["toy-fc", "toy-pairs"])
def test_a_training_killed_twice_ends_with_the_same_bytes_and_one_mlflow_run(
    run: str, long_project: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = long_project
    # The second kill most likely finds one seed an epoch ahead of the other.
    kill_when(start("pipeline.train", run), epochs_done(1), f"train/{run}/*/seed-0.state.safetensors")
    kill_when(start("pipeline.train", run), epochs_done(8), f"train/{run}/*/seed-1.state.safetensors")
    assert not Path("models").exists()
    finish("pipeline.train", run)
    assert query("select name, status from runs order by name") == [
        (run, "FINISHED"),
        (f"{run} seed 0", "FINISHED"),
        (f"{run} seed 1", "FINISHED"),
    ]
    steps = query(
        "select run_uuid, count(*), count(distinct step) from metrics where key = 'train_loss' group by run_uuid"
    )
    assert [counts for _, *counts in steps] == [[EPOCHS, EPOCHS]] * 2
    monkeypatch.chdir(whole)
    finish("pipeline.train", run)
    for name in ("seed-0.safetensors", "seed-1.safetensors", "history.csv"):
        assert (broken / "models" / run / name).read_bytes() == (whole / "models" / run / name).read_bytes(), name


@pytest.mark.slow
def test_a_search_killed_twice_ends_with_the_same_trials(
    long_project: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = long_project

    def told(at_least: int) -> Callable[[list[Path]], bool]:
        # Operation 6 of Optuna's journal sets a trial's state: running or ended.
        return lambda paths: any(
            path.read_text().count('"op_code": 6') + path.read_text().count('"op_code":6') >= at_least for path in paths
        )

    kill_when(start("pipeline.tune", "toy"), told(2), "tune/toy/*/journal.log")
    kill_when(start("pipeline.tune", "toy"), told(6), "tune/toy/*/journal.log")
    finish("pipeline.tune", "toy")
    assert set(query("select distinct status from runs")) == {("FINISHED",)}
    monkeypatch.chdir(whole)
    finish("pipeline.tune", "toy")
    for name in ("best.yaml", "trials.csv", "history.png"):
        ours, theirs = (folder / "reports/toy/tuning/toy" / name for folder in (broken, whole))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_a_second_trainer_of_the_same_run_is_refused_while_the_first_lives(project: Path) -> None:
    out = Path("models/toy-fc")
    with (
        scratch("train", "toy-fc", out, "key"),
        pytest.raises(ValueError, match="already running"),
        scratch("train", "toy-fc", out, "key"),
    ):
        pass


def test_success_clears_away_what_was_left_of_the_same_output_and_of_no_other(project: Path) -> None:
    def interrupt(out: str) -> Path:
        with suppress(KeyboardInterrupt), scratch("train", "toy-fc", Path(out), "earlier") as folder:
            (folder / "seed-0.state.safetensors").touch()
            raise KeyboardInterrupt
        return folder

    models, elsewhere = interrupt("models/toy-fc"), interrupt("elsewhere")
    (models.parent / "notes.txt").touch()
    with scratch("train", "toy-fc", Path("quick"), "key"):
        pass
    assert models.is_dir()
    with scratch("train", "toy-fc", Path.cwd() / "models/toy-fc", "later"):
        pass
    assert [path.name for path in sorted(models.parent.iterdir())] == [elsewhere.name, "notes.txt"]


@pytest.mark.slow
def test_an_open_run_of_an_earlier_configuration_becomes_killed(long_project: tuple[Path, Path]) -> None:
    kill_when(start("pipeline.train", "toy-fc"), epochs_done(1), "train/toy-fc/*/seed-0.state.safetensors")
    params = tiny_params()
    params["runs"]["toy-fc"]["epochs"] = 1
    write_params(Path(), params)
    finish("pipeline.train", "toy-fc")
    states = query("select name, status, count(*) from runs group by name, status order by name, status")
    assert states == [
        ("toy-fc", "FINISHED", 1),
        ("toy-fc", "KILLED", 1),
        ("toy-fc seed 0", "FINISHED", 1),
        ("toy-fc seed 0", "KILLED", 1),
        ("toy-fc seed 1", "FINISHED", 1),
        ("toy-fc seed 1", "KILLED", 1),
    ]
    assert not list(Path(".scratch").glob("train/toy-fc/*"))
