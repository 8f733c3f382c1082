"""A training that goes through a checkpoint from the GPU to a CPU and back."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from capsnet.training.checkpoint import read_history
from capsnet.training.loop import Course, train_side_by_side
from tests.benchmarks.workloads import random_images
from tests.gpu.gpu_table import tell
from tests.gpu.measured_runs import Settings, networks


def checkpoint(settings: Settings, device: torch.device) -> None:
    """Write a checkpoint on the GPU, go on from it on a CPU, and from there on the GPU again."""
    name, model, config = next(networks(settings))
    number = 24 if settings["small"] else 256
    images, labels = random_images(number, model, torch.device("cpu"))
    config = replace(config, batch_size=min(64, number // 2))
    with tempfile.TemporaryDirectory() as folder:
        state, losses = Path(folder) / "state.safetensors", []
        for epochs, place in enumerate((device, torch.device("cpu"), device), start=1):
            resume = state if state.exists() else None
            course = Course(0, checkpoint=state, resume=resume)
            here = images.to(place), labels.to(place)
            (trained,) = train_side_by_side(model, replace(config, epochs=epochs), *here, [course])
            losses = [float(row["train_loss"] or 0.0) for row in trained.history]
        history = read_history(state)
    well = len(history) == len(losses) == 3 and all(map(math.isfinite, losses))
    note = "losses " + ", ".join(f"{loss:.4f}" for loss in losses)
    tell(f"{name}: GPU, then CPU, then GPU", "epochs", len(losses), "ok" if well else "failed", note)
