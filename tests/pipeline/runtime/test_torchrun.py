"""Several processes that train together, started by torchrun: real ones, on the CPU, over gloo."""

import csv
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stored import select
from tiny_project import ROOT, tiny_params, write_params
from torch import distributed
from warm_python import warm

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.training.processes import Processes
from pipeline.runtime.torchrun import process_group

STEPS_AN_EPOCH = 3


def torchrun(number: int, *arguments: str, python: str = sys.executable, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [python, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", "-m", *arguments],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train_alone(run: str, out: str) -> None:
    """Train in this process, which is one of one."""
    from pipeline import train

    train.main([run, "--out", out])


def losses(folder: str) -> list[float]:
    with (Path(folder) / "history.csv").open() as file:
        return [float(row["train_loss"]) for row in csv.DictReader(file)]


def ranks(launcher: int) -> dict[str, int]:
    """Return the processes that a torchrun started, by rank."""
    found = {}
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        found |= {entry.removeprefix("RANK="): int(child) for entry in environment if entry.startswith("RANK=")}
    return found


def set_run(folder: Path, run: str, **changes: object) -> None:
    params = tiny_params()
    params["runs"][run] |= changes
    write_params(folder, params)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "changes"), [("toy-pairs", {}), ("toy-attention", {"encoder_norm": "instance"})])
def test_two_processes_give_the_losses_of_one_and_write_and_record_once(
    run: str, changes: dict[str, object], prepared: Path, store: Path
) -> None:
    set_run(prepared, run, epochs=7, **changes)
    train_alone(run, "alone")
    together = torchrun(2, "pipeline.train", run, "--out", "together", python="python", **warm(throughout=True))
    said, _ = together.communicate(timeout=200)
    assert together.returncode == 0, said
    assert said.count(f"together: {run}, seeds 0, 1") == 1
    assert len(losses("alone")) * STEPS_AN_EPOCH >= 2 * 20
    assert losses("together") == pytest.approx(losses("alone"), rel=1e-5)
    assert not list(Path(".scratch/train", run).iterdir())
    recorded = select(Path("mlflow.db"), "select name, count(*) from runs group by name order by name")
    assert recorded == [(run, 2), (f"{run} seed 0", 2), (f"{run} seed 1", 2)]


@pytest.mark.slow
@pytest.mark.timeout(900)  # three trainings: minutes on a machine with other work
def test_a_killed_process_ends_the_others_with_a_message_and_one_process_goes_on(prepared: Path, store: Path) -> None:
    epochs = 40
    set_run(prepared, "toy-fc", epochs=epochs, validation=0.0)
    together = torchrun(2, "pipeline.train", "toy-fc", "--out", "broken")
    deadline = time.monotonic() + 200
    while not list(Path(".scratch").glob("train/toy-fc/*/seed-1.state.safetensors")):
        assert together.poll() is None, together.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(ranks(together.pid)["1"], signal.SIGKILL)
    said, _ = together.communicate(timeout=200)  # seconds only if nothing ends it
    assert together.returncode != 0
    assert "one of the 2 processes of this training has ended, and the others with it" in said
    assert "error: MLflow" not in said
    assert not Path("broken/history.csv").exists()
    ((before,),) = select(Path("mlflow.db"), "select count(*) from metrics where key = 'train_loss'")
    assert 0 < before < 2 * epochs
    train_alone("toy-fc", "broken")
    train_alone("toy-fc", "whole")
    assert losses("broken") == pytest.approx(losses("whole"), rel=1e-3)


@pytest.mark.parametrize("number", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 4, 7])
def test_every_image_of_a_batch_is_the_share_of_one_process(number: int, size: int) -> None:
    batch = torch.arange(100, 100 + size)
    shares = [Processes(rank, number).shared(batch) for rank in range(number)]
    assert sorted(torch.cat(shares).tolist()) == batch.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_empty_share_of_a_batch_changes_nothing(tiny_model: ModelConfig) -> None:
    for padding, decoder in itertools.product(("valid", "same"), ("none", "fc", "deconv")):
        model = CapsNet(replace(tiny_model, padding=padding, decoder=decoder, standardise=True))
        output = model(torch.empty(0, 1, 20, 20), torch.empty(0, dtype=torch.int64))
        output.lengths.sum().backward()
        assert output.lengths.shape == (0, 3)
        assert not any(each.grad is not None and each.grad.any() for each in model.parameters())


def test_the_first_bad_step_of_any_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    others = iter(
        [torch.tensor([2.0]), torch.tensor(4), torch.tensor([2.0]), torch.tensor(torch.iinfo(torch.int64).max)]
    )

    def all_reduce(tensor: torch.Tensor, operation: object = distributed.ReduceOp.SUM) -> None:
        other = next(others)
        tensor.copy_(tensor + other if operation == distributed.ReduceOp.SUM else torch.minimum(tensor, other))

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    for mine, first in ((5, 4), (-1, -1)):
        sums, step = Processes(0, 2).reduce(torch.tensor([1.0]), torch.tensor(mine))
        assert (sums.item(), step.item()) == (3.0, first)


def test_more_processes_than_gpus_are_refused_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "4")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    expected = pytest.raises(ValueError, match="device: got 2 GPUs, expected one for each of 4 processes")
    with expected, process_group("cuda"):
        pass
