"""The stages of a target over several workers: the same files as after `dvc repro`, and only what changed."""

import sys

import pytest
from errands import Errands, ended, wait_until
from servers import free_port

pytestmark = pytest.mark.slow


def test_two_workers_make_to_the_byte_what_dvc_makes_one_by_one(errands: Errands, one_by_one: dict[str, bytes]) -> None:
    errands.close("train-a")
    running = errands.cluster("--workers", "2")
    errands.await_tries("train-a")
    errands.await_tries("train-c")  # so train@b is in dvc.lock ahead of train@a
    errands.open("train-a")
    said = ended(running)
    assert "8 stages in" in said
    assert "8 run, 0 restored, 0 unchanged" in said
    assert errands.made() == one_by_one
    assert errands.tries("train-b")[0][2] == "train@b"
    assert errands.call("dvc", "status").strip() == "Data and pipelines are up to date."
    assert "dvc.lock" in errands.call("git", "diff", "--cached", "--name-only")
    assert "0 run, 0 restored, 8 unchanged" in errands.call(*errands.command, "--workers", "1")


def test_a_stage_whose_inputs_came_out_unchanged_is_skipped(errands: Errands) -> None:
    errands.call(*errands.command, "--workers", "1")
    (errands.folder / "source.txt").write_text("two\n")  # as long as before: the stage `prepare` writes the length
    assert "1 run, 0 restored, 7 unchanged" in errands.call(*errands.command, "--workers", "1")
    assert len(errands.tries("train-a")) == 1


def test_what_was_made_before_comes_from_the_run_cache(errands: Errands) -> None:
    errands.call(*errands.command, "evaluate@b", "--workers", "1")
    before = errands.made()
    (errands.folder / "source.txt").write_text("twelve signs\n")
    assert "3 run, 0 restored" in errands.call(*errands.command, "evaluate@b", "--workers", "1")
    (errands.folder / "source.txt").write_text("one\n")
    assert "0 run, 3 restored" in errands.call(*errands.command, "evaluate@b", "--workers", "1")
    assert {path: content for path, content in errands.made().items() if path in before} == before
    assert not errands.tries("train-a")


def test_other_commands_of_dvc_keep_away_from_what_a_worker_makes(errands: Errands) -> None:
    errands.close("train-a")
    running = errands.cluster("train@a", "--workers", "1")
    errands.await_tries("train-a")
    said = errands.call("dvc", "repro", "--single-item", "train@a", status=255)
    assert "is busy, it is being blocked by" in said
    assert "Data and pipelines" in errands.call("dvc", "status", "prepare")  # DVC's lock is free meanwhile
    errands.open("train-a")
    ended(running)
    assert len(errands.tries("train-a")) == 1


def test_each_training_has_a_gpu_of_its_own_while_other_stages_go_on_beside(errands: Errands) -> None:
    trainings = ("train-a", "train-b", "train-c")
    errands.close(*trainings, "evaluate-a")
    running = errands.cluster(CUDA_VISIBLE_DEVICES="5,6")
    wait_until(lambda: sum(bool(errands.tries(name)) for name in trainings) == 2)
    assert {errands.tries(name)[0][1] for name in trainings[:2]} == {"5", "6"}
    errands.open("train-a")
    errands.await_tries("train-c")
    errands.await_tries("evaluate-a")  # beside two trainings on two workers
    errands.open("train-b", "train-c", "evaluate-a")
    ended(running)


def test_workers_that_dask_runs_already_are_used_and_stay(errands: Errands, one_by_one: dict[str, bytes]) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--dashboard-address", "127.0.0.1:0"]
    said = errands.call(*errands.command, "--scheduler", "tcp://127.0.0.1:1", status=2)
    assert "error: --scheduler: got tcp://127.0.0.1:1, which does not answer: " in said
    errands.start(sys.executable, "-m", "distributed.cli.dask_scheduler", *scheduler)
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", "--nthreads", "1"]
    plain = errands.start(*worker, "--no-nanny", PYTHONPATH="")
    said = errands.call(*errands.command, "--scheduler", address, status=2)
    assert "error: workers: got none with the resource `core`; start them with --resources core=1" in said
    plain.terminate()
    ended(plain)
    useful = errands.start(*worker, "--resources", "core=1", PYTHONPATH="")
    for _ in range(2):
        assert "8 stages" in errands.call(*errands.command, "--scheduler", address)
    assert errands.made() == one_by_one
    assert useful.poll() is None
