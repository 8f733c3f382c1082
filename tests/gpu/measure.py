"""One step of the first minutes on a GPU, in a process of its own.

    python -m tests.gpu.measure steps '{"device": "cuda", "small": false, "precision": "tf32"}'

It prints each row of the table as soon as the row is known. An error ends the step; the rows that were printed stay.
"""

import json
import sys
import warnings
from collections.abc import Callable

import torch

from pipeline.runtime.device import configure_torch
from tests.gpu.agreement import checks
from tests.gpu.hardware import environment
from tests.gpu.measured_runs import Settings
from tests.gpu.speed import epoch, steps
from tests.gpu.trainings_on_gpu import checkpoint, training

STEPS: dict[str, Callable[[Settings, torch.device], None]] = {
    "environment": environment,
    "checks": checks,
    "steps": steps,
    "epoch": epoch,
    "checkpoint": checkpoint,
    "training": training,
}


def main(name: str, settings: Settings) -> None:
    """Run one step as the stages would: deterministic, without TF32 unless it is asked for."""
    warnings.simplefilter("default")
    STEPS[name](settings, configure_torch(settings["device"], 2).device)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
