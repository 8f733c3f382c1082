"""A run of several processes, which its stage starts by itself, and their end: real ones, on the CPU, over gloo."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from stored import select
from tiny_project import ROOT, tiny_params, write_params
from warm_python import warm

from capsnet.networks.saved import read_settings
from pipeline.runtime.launch import usable_processes
from pipeline.settings.params import load_params, override

# Rank 1 never takes part in the barrier, so rank 0 waits in C for it.
WAITING = """
import sys, time
from functools import partial
from pipeline.runtime import torchrun
torchrun.ends_on_sigterm = partial(torchrun.ends_on_sigterm, patience=1.0)
with torchrun.process_group("cpu") as group, group.closing(lambda: print("closed", flush=True)):
    print("joined", flush=True)
    if group.rank == 1:
        time.sleep(600)
    group.wait()
"""

# SIGTERM arrives when the block has failed, and before anybody has said why.
FAILING = """
import os, signal
from pipeline.runtime.command_line import run_stage
from pipeline.runtime.termination import ends_on_sigterm

def main():
    try:
        with ends_on_sigterm("another one has ended", print):
            raise ValueError("the connection is gone")
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

run_stage(main)
"""


def python(*arguments: str, program: str = sys.executable, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [program, *arguments],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def set_processes(number: int, **changes: object) -> None:
    params = tiny_params()
    params["runs"]["toy-fc"] |= {"processes": number, **changes}
    write_params(Path(), params)


def train(*arguments: str) -> tuple[int, str, str]:
    process = python("-m", "pipeline.train", *arguments, program="python", **warm(throughout=True))
    said, complained = process.communicate(timeout=200)
    return process.returncode, said, complained


def train_alone() -> None:
    """Train in this process, which is one of one."""
    from pipeline import train

    train.main(["toy-fc", "--set", "processes=1", "--out", "alone"])


def losses(folder: str) -> list[float]:
    with Path(folder, "history.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_run_of_two_processes_starts_them_itself_and_trains_what_one_trains(prepared: Path, store: Path) -> None:
    set_processes(2)
    status, said, complained = train("toy-fc")
    assert (status, said) == (0, "models/toy-fc: toy-fc, seeds 0, 1\n"), complained
    train_alone()
    assert losses("models/toy-fc") == pytest.approx(losses("alone"), rel=1e-5)
    assert read_settings(Path("models/toy-fc/seed-0.safetensors")) == read_settings(Path("alone/seed-0.safetensors"))
    recorded = select(store, "select name, count(*) from runs group by name order by name")
    assert recorded == [("toy-fc", 2), ("toy-fc seed 0", 2), ("toy-fc seed 1", 2)]


@pytest.mark.slow
def test_torchrun_by_hand_decides_the_number_of_processes(prepared: Path, store: Path) -> None:
    set_processes(3)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    command = [*torchrun, "-m", "pipeline.train", "toy-fc", "--out", "one"]
    process = python(*command, program="python", **warm(throughout=True))
    _, complained = process.communicate(timeout=200)
    assert process.returncode == 0, complained
    train_alone()
    assert losses("one") == losses("alone")


@pytest.mark.slow
def test_an_error_of_several_processes_is_told_in_one_line_with_status_2(prepared: Path, store: Path) -> None:
    set_processes(2, batch_norm=True)
    status, _, complained = train("toy-fc")
    expected = "error: processes: got several without GPUs, expected one for a network that normalises batches"
    assert status == 2
    assert expected in complained.splitlines()
    assert "Traceback" not in complained


def test_the_number_of_processes_is_not_recorded_and_survives_other_settings(prepared: Path) -> None:
    set_processes(4)
    run = load_params().runs["toy-fc"]
    assert run.processes == 4
    assert "processes" not in run.model_dump()
    assert override(run, ["lr=0.5"], "here").processes == 4
    assert override(run, ["processes=2"], "here").processes == 2
    set_processes(0)
    with pytest.raises(ValueError, match=r"runs.toy-fc.*processes: got 0, expected"):
        load_params()


def test_each_process_needs_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [usable_processes(4, device) for device in ("auto", "cuda", "cpu")] == [2, 2, 4]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert usable_processes(4, "auto") == 4


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture
def waiting() -> "list[subprocess.Popen[str]]":
    """Two joined processes, of which the first waits in C for the second."""
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    processes = [python("-c", WAITING, RANK=str(rank), **variables) for rank in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
    time.sleep(1)  # until the first has begun to wait
    return processes


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    try:
        said, complained = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said, complained


@pytest.mark.slow
def test_sigterm_ends_a_process_that_waits_in_c_with_a_message_and_closes_what_it_recorded(
    waiting: "list[subprocess.Popen[str]]",
) -> None:
    first, second = waiting
    first.send_signal(signal.SIGTERM)
    try:
        status, said, complained = ended(first)
    finally:
        second.kill()
        second.communicate()
    assert (status, said) == (1, "closed\n")
    assert "error: one of the 2 processes of this training has ended, and the others with it" in complained


@pytest.mark.slow
def test_sigterm_ends_a_process_that_runs_python_at_once(waiting: "list[subprocess.Popen[str]]") -> None:
    first, second = waiting
    second.send_signal(signal.SIGTERM)
    began = time.monotonic()
    status, said, complained = ended(second)
    assert (status, said) == (1, "")
    assert time.monotonic() - began < 30
    assert "one of the 2 processes of this training has ended" in complained
    status, _, complained = ended(first)  # the connection is gone
    assert status != 0
    assert "one of the 2 processes of this training has ended" in complained


def test_sigterm_after_a_failure_does_not_end_a_process_before_it_has_said_why() -> None:
    process = python("-c", FAILING)
    said, complained = process.communicate(timeout=200)
    assert (process.returncode, said, complained) == (2, "", "error: the connection is gone\n")
