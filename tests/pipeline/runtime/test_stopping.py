"""A training that is asked to stop, or whose DVC is gone, ends at a checkpoint; a lock says who holds it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from errands import lives, wait_until
from real_stages import epochs_done, finish, start, two_projects
from tiny_project import ROOT, tiny_params

from pipeline.runtime import stopping
from pipeline.runtime.locks import LOCK, Holder, holder, try_lock
from pipeline.runtime.scratch import scratch
from pipeline.runtime.stopping import DVC_STAGE, GONE, ends_with_dvc, started_by, still_runs, stoppable

OUT = Path("models/toy-fc")


def dead() -> int:
    """Return the number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def test_the_first_sigterm_asks_and_the_second_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stoppable() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert not stop.orphaned
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "a third one needs no Python"
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_epoch_that_takes_longer_than_the_grace_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "GRACE", 0.1)
    with stoppable() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)


def test_a_training_whose_dvc_is_gone_is_told_so_and_writes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DVC_STAGE, "train@toy-fc")
    monkeypatch.setattr(stopping, "LOOK", 0.01)
    with stoppable() as stop:
        stop.refuse_orphan()
        time.sleep(0.1)
        assert not stop()
        monkeypatch.setattr(os, "getppid", lambda: 1)
        wait_until(stop, 10)
        with pytest.raises(
            KeyboardInterrupt, match="the DVC that started this training, is gone; the next `dvc repro`"
        ):
            stop.refuse_orphan()


@pytest.mark.parametrize(
    ("name", "command", "gone"),
    [
        ("systemd", "/lib/systemd/systemd\0--user\0", True),
        ("supervisor", "/supervisor\0--port\x002024\0", True),  # the first process of a container, under any name
        ("", "", True),  # no /proc
        ("dvc", "/usr/bin/python3\0/usr/local/bin/dvc\0repro\0", False),  # docker run image dvc repro
    ],
)
def test_a_dvc_that_ended_before_its_training_came_up_is_gone(
    name: str, command: str, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DVC_STAGE, "train@toy-fc")
    monkeypatch.setattr(stopping, "LOOK", 0.01)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setattr(stopping, "_name", lambda process: name)
    monkeypatch.setattr(stopping, "_command", lambda process: command)
    assert started_by() == (GONE if gone else 1)
    assert Holder(os.getpid(), socket.gethostname(), time.time(), started_by()).orphaned is gone
    with stoppable() as stop:
        time.sleep(0.2)
        assert stop.orphaned is gone


def test_a_training_that_a_person_started_outlives_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DVC_STAGE, raising=False)
    monkeypatch.setattr(stopping, "LOOK", 0.01)
    with stoppable() as stop:
        monkeypatch.setattr(os, "getppid", lambda: 1)
        time.sleep(0.1)
        assert not stop()
    assert started_by() == 0


def test_another_stage_ends_with_its_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DVC_STAGE, "tune@toy")
    monkeypatch.setattr(stopping, "LOOK", 0.01)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ends_with_dvc():
            monkeypatch.setattr(os, "getppid", lambda: 1)
            with pytest.raises(KeyboardInterrupt):
                time.sleep(60)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_message_of_a_lock_names_process_age_and_what_to_do(project: Path) -> None:
    with scratch("train", "toy-fc", OUT, "key") as folder:
        path = folder / LOCK
        mine = holder(path)
        assert mine is not None
        assert (mine.process, mine.host, mine.starter) == (os.getpid(), socket.gethostname(), 0)
        path.write_text(json.dumps(mine._replace(since=time.time() - 3 * 3600 - 700)._asdict()))
        me = f"process {os.getpid()} on {re.escape(socket.gethostname())}"
        said = (
            rf"train toy-fc is already running in {me}, which has run for 3 h 11 min \(lock .*\); wait until it ends, "
            rf"or end it with `kill {os.getpid()}` and start this"
        )
        with pytest.raises(ValueError, match=said), scratch("train", "toy-fc", OUT, "key"):
            pass
        path.write_text("")  # as earlier versions left it
        with (
            pytest.raises(ValueError, match="already running in another process"),
            scratch("train", "toy-fc", OUT, "key"),
        ):
            pass


def test_a_start_waits_for_a_process_whose_dvc_is_gone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scratch("train", "toy-fc", OUT, "key") as folder:
        path = folder / LOCK
    held = try_lock(path)
    assert held is not None
    path.write_text(json.dumps(Holder(os.getpid(), socket.gethostname(), time.time(), dead())._asdict()))
    release = threading.Timer(0.7, held.close)
    release.start()
    began = time.monotonic()
    with scratch("train", "toy-fc", OUT, "key"):
        assert time.monotonic() - began > 0.5
    assert capsys.readouterr().err.count("its DVC is gone, so it ends at its next checkpoint") == 1
    release.join()


def test_a_lock_on_a_file_that_was_deleted_keeps_nobody_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    path, flock = tmp_path / "folder" / LOCK, fcntl.flock

    def deleted_just_before(file: object, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", deleted_just_before)
    held = try_lock(path)
    assert held is not None
    assert path.exists()
    assert try_lock(path) is None
    held.close()


def test_whether_a_process_runs() -> None:
    assert still_runs(os.getpid())
    assert still_runs(1)
    assert not still_runs(dead())


EPOCHS, CHECKPOINT = 24, 4
# A training that rests after each epoch of a seed: while it does, it uses no processor.
RESTING = """
import sys, time
from pipeline import train
from pipeline.runtime.command_line import run_stage
from pipeline.tracking.recorder import MlflowRecorder

log = MlflowRecorder.log

def log_and_rest(self, step, values):
    log(self, step, values)
    time.sleep(0.15)

MlflowRecorder.log = log_and_rest
run_stage(lambda: train.main(sys.argv[1:]))
"""
LIKE_DVC = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


@pytest.fixture
def long_projects(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two equal projects with enough epochs to be stopped in; the working directory is the first."""
    params = tiny_params()
    params["runs"]["toy-fc"] |= {"epochs": EPOCHS, "checkpoint_every": CHECKPOINT}
    params["tracking"]["tensorboard"] = False
    return two_projects(tmp_path_factory, monkeypatch, params, "stopped")


def same_results(stopped: Path, whole: Path) -> None:
    for name in ("seed-0.safetensors", "seed-1.safetensors", "history.csv"):
        assert (stopped / OUT / name).read_bytes() == (whole / OUT / name).read_bytes(), name


@pytest.mark.slow
def test_a_training_outlives_neither_its_dvc_nor_a_sigterm_and_loses_no_epoch(
    long_projects: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, whole = long_projects
    environment = {**os.environ, "PYTHONPATH": str(ROOT), DVC_STAGE: "train@toy-fc"}
    with Path("said.txt").open("w") as said_there:
        command = [sys.executable, "-c", LIKE_DVC, RESTING, "toy-fc"]
        like_dvc = subprocess.Popen(command, env=environment, stderr=said_there)
    pattern = ".scratch/train/toy-fc/*/"
    wait_until(lambda: any(stopped.glob(f"{pattern}seed-0.state.safetensors")))
    (path,) = stopped.glob(f"{pattern}{LOCK}")
    orphan = holder(path)
    assert orphan is not None
    assert orphan.starter == like_dvc.pid
    like_dvc.kill()
    like_dvc.wait()
    wait_until(lambda: not lives(orphan.process), 60)
    assert "is gone: it ends after this epoch and keeps its state" in Path("said.txt").read_text()
    assert not OUT.exists()
    (state,) = stopped.glob(f"{pattern}seed-0.state.safetensors")
    from capsnet.training.checkpoint import read_history

    reached = len(read_history(state))
    assert CHECKPOINT <= reached < EPOCHS
    asked = start("-c", RESTING, "toy-fc")
    done = epochs_done(CHECKPOINT * (reached // CHECKPOINT + 1))
    wait_until(lambda: done([state]) or asked.poll() is not None)
    asked.send_signal(signal.SIGTERM)
    said, _ = asked.communicate(timeout=60)
    assert asked.returncode == 1
    assert "stopped after epoch" in said
    finish("pipeline.train", "toy-fc")
    monkeypatch.chdir(whole)
    finish("pipeline.train", "toy-fc")
    same_results(stopped, whole)
