"""Memory, handles and threads over the epochs of a long training."""

import gc
import resource
import threading
from collections.abc import Mapping
from pathlib import Path

import torch
from tiny_project import squares, tiny_params

from tests.faults.result import Fault

MOST = 1_000_000  # bytes of growth
WARM = 20  # epochs before the first measurement


def growth(folder: Path, epochs: int) -> Fault:
    """Train `epochs` epochs with a checkpoint after each, and measure from epoch WARM on."""
    from capsnet.training.loop import train
    from pipeline.settings.params import check_run

    run = check_run(tiny_params()["runs"]["toy-fc"] | {"epochs": epochs}, "toy-fc")
    images, labels = squares(48, 0)
    first: list[tuple[int, int, int]] = []

    def log(epoch: int, values: Mapping[str, float]) -> None:
        if epoch in (WARM, epochs):
            gc.collect()
            first.append(_held())

    torch.set_num_threads(1)
    train(
        run.model(20, 1, 3),
        run.training(),
        torch.from_numpy(images[:, None]),
        torch.from_numpy(labels),
        0,
        checkpoint=folder / "state.safetensors",
        log=log,
    )
    memory, handles, threads = (after - before for before, after in zip(*first, strict=True))
    lost = [f"{memory} bytes"] if memory > MOST else []
    lost += [f"{handles} handles"] if handles > 0 else []
    lost += [f"{threads} threads"] if threads > 0 else []
    happened = f"{memory / 1e6:.2f} MB, {handles} handles and {threads} threads more than after {WARM}"
    return Fault(f"{epochs} epochs", 1, happened, "; ".join(lost) or "nothing", "tests/faults/test_faults_in_small.py")


def _held() -> tuple[int, int, int]:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize(), len([*Path("/proc/self/fd").iterdir()]), threading.active_count()
