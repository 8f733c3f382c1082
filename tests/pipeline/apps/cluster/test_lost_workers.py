"""What goes wrong while workers run stages: lost workers, failing stages, Ctrl-C, a second command."""

import signal

import psutil
import pytest
from errands import Errands, ended, lives, wait_until

pytestmark = pytest.mark.slow


def worker_of(process: int) -> psutil.Process:
    """Return the worker that started a process."""
    above = psutil.Process(process).parents()
    return next(each for each in above if "distributed.cli.dask_worker" in each.cmdline())


def test_the_stage_of_a_killed_worker_is_tried_again_and_another_worker_takes_its_place(
    errands: Errands, one_by_one: dict[str, bytes]
) -> None:
    errands.close("train-a", "train-b", "train-c")
    running = errands.cluster("--workers", "2")
    first, beside = errands.await_tries("train-a"), errands.await_tries("train-b")
    worker = worker_of(first)
    worker.kill()
    second = errands.await_tries("train-a", 2)
    assert not lives(first)
    assert lives(beside)
    assert worker_of(second) != worker_of(beside)
    errands.open("train-a", "train-b", "train-c")
    said = ended(running)
    assert "ended (status -9): started again, and its stage is tried again" in said
    assert errands.made() == one_by_one


def test_a_failing_stage_stops_only_what_depends_on_it_and_is_named_at_the_end(
    errands: Errands, one_by_one: dict[str, bytes]
) -> None:
    fault = errands.folder / "faults/train-b"
    fault.touch()
    said = errands.call(*errands.command, "--workers", "2", status=1)
    log = errands.folder / ".scratch/cluster/train@b.log"
    assert "error: train@b: exit status 1 on worker-" in said
    assert f"{log} ends with: it does not work\n1 failed; 2 left out" in said
    assert log.read_text() == "working\nit does not work\n"
    assert errands.tries("evaluate-a")
    assert errands.tries("evaluate-c")
    assert not errands.tries("evaluate-b")
    fault.unlink()
    assert "3 run, 0 restored, 5 unchanged" in errands.call(*errands.command, "--workers", "2")
    assert errands.made() == one_by_one


def test_a_stage_that_ends_every_worker_fails_after_a_few(errands: Errands) -> None:
    errands.close("train-a")
    running = errands.cluster("train@a", "--workers", "1")
    for number in range(1, 5):
        worker_of(errands.await_tries("train-a", number)).kill()
    assert "error: train@a: gave it up after 4 workers that ended while they ran it" in ended(running, 1)
    assert len(errands.tries("train-a")) == 4


def test_after_ctrl_c_nothing_runs_and_the_same_command_goes_on(errands: Errands, one_by_one: dict[str, bytes]) -> None:
    errands.close("train-a", "train-b")
    running = errands.cluster("--workers", "2")
    processes = [errands.await_tries("train-a"), errands.await_tries("train-b")]
    processes += [worker_of(process).pid for process in processes]
    running.send_signal(signal.SIGINT)
    assert "interrupted; the same command" in ended(running, 1)
    assert not any(map(lives, processes))
    errands.open("train-a", "train-b")
    said = errands.call(*errands.command, "--workers", "2")
    assert "7 run, 0 restored, 1 unchanged" in said
    assert errands.made() == one_by_one


def test_commands_end_if_this_process_is_killed(errands: Errands, one_by_one: dict[str, bytes]) -> None:
    errands.close("train-a", "train-b")
    running = errands.cluster("--workers", "2")
    processes = [errands.await_tries("train-a"), errands.await_tries("train-b")]
    processes += [worker_of(process).pid for process in processes]
    running.kill()
    ended(running, -signal.SIGKILL)
    wait_until(lambda: not any(map(lives, processes)))
    errands.open("train-a", "train-b")
    errands.call(*errands.command, "--workers", "2")
    assert errands.made() == one_by_one


def test_a_second_command_on_the_same_folder_says_that_there_is_one(errands: Errands) -> None:
    errands.close("prepare")
    running = errands.cluster("--workers", "1")
    errands.await_tries("prepare")
    said = errands.call(*errands.command, "report", status=2)
    assert f"{errands.folder}: this command is already running here (process {running.pid} on " in said
    errands.open("prepare")
    ended(running)
    assert len(errands.tries("prepare")) == 1
