"""The parts of `cluster` by themselves: groups of processes, one command a folder, interrupts, what is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from errands import Errands, lives, wait_until

from pipeline.apps.cluster import interrupts_call, main
from pipeline.apps.workers import group, local
from pipeline.apps.workers.progress import duration
from pipeline.apps.workers.project_lock import earlier, finish, only_one
from pipeline.apps.workers.stages import StagePlan
from pipeline.runtime.command_line import run_stage

# It writes its process id, and then how it was interrupted.
CHILD = f"""exec {sys.executable} -c '
import os, time
try:
    print(os.getpid(), flush=True)
    time.sleep(100)
except KeyboardInterrupt:
    print("interrupted", flush=True)
'
"""


def begin(*commands: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", group.__file__, "/bin/sh", *commands],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )


def child_of(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_commands_run_one_after_another_until_one_fails() -> None:
    with begin("echo one", "echo two; exit 3", "echo three") as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"one\ntwo\n"
        assert process.wait() == 3


def test_a_command_that_a_signal_ends_has_the_status_that_a_shell_gives_it() -> None:
    with begin("kill -9 $$") as process:
        assert process.wait() == 128 + signal.SIGKILL


def test_a_group_is_killed_when_the_process_that_started_it_is_gone() -> None:
    with begin(f"{CHILD} & wait") as process:
        child = child_of(process)
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: not lives(child))
        assert process.wait() == -signal.SIGKILL


def test_a_group_may_end_by_itself_after_an_interrupt() -> None:
    with begin(CHILD, "echo more") as process:
        child_of(process)
        assert process.stdin is not None
        process.stdin.write(group.INTERRUPT)
        process.stdin.close()
        assert process.stdout is not None
        assert process.stdout.read() == b"interrupted\n"
        assert process.wait() == 128 + signal.SIGINT


def test_there_is_one_command_at_a_time_in_a_folder(tmp_path: Path) -> None:
    refused = pytest.raises(ValueError, match=f"already running here .process {os.getpid()} on ")
    with only_one(tmp_path), refused, only_one(tmp_path):
        pass
    with only_one(tmp_path) as folder:
        assert folder == tmp_path / ".scratch/cluster"


def test_what_was_recorded_earlier_is_remembered_until_all_is_done(tmp_path: Path) -> None:
    assert earlier(tmp_path, {"dvc.lock": ["a"]}) == {"dvc.lock": ["a"]}
    assert earlier(tmp_path, {"dvc.lock": ["a", "b"]}) == {"dvc.lock": ["a"]}
    finish(tmp_path)
    assert earlier(tmp_path, {"dvc.lock": ["a", "b"]}) == {"dvc.lock": ["a", "b"]}


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # a warning about DVC's own code
def test_what_is_recorded_is_read_under_the_lock_of_dvc(errands: Errands, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.utils import serialize

    monkeypatch.chdir(errands.folder)
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    plan, read = StagePlan([]), serialize.load_yaml
    locked: list[bool] = []

    def observed(path: Path) -> object:
        locked.append(plan.repo.lock.is_locked)
        return read(path)

    monkeypatch.setattr(serialize, "load_yaml", observed)
    assert plan.recorded() == {"dvc.lock": []}
    assert locked == [True]
    assert not plan.repo.lock.is_locked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_ends_the_run_in_order_and_the_second_ends_all(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    calls: list[str] = []
    with interrupts_call(lambda: calls.append("stop")):
        signal.raise_signal(number)
        assert calls == ["stop"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_gpus_are_those_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1")
    assert local.gpus() == ["3", "1"]
    assert local.usual_number() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,-1,3")
    assert local.gpus() == ["2"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert local.gpus() == []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(9)))
    assert local.usual_number() == 4


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_times_are_said_as_a_person_does(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "0"], "--workers: got 0, expected at least 1"),
        (
            ["--workers", "1", "--scheduler", "tcp://127.0.0.1:1"],
            "--workers: got --scheduler as well, expected one",
        ),
        ([], "you are not inside of a DVC repository"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run_stage(lambda: main(arguments))
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_without_dask_the_command_names_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for module in [name for name in sys.modules if name.startswith("pipeline.apps.workers.co")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit, match="2"):
        run_stage(lambda: main(["report@toy"]))
    assert 'the package distributed is missing; `pip install ".[cluster]"` brings it' in capsys.readouterr().err
