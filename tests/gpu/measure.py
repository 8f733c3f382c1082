"""One step of the first minutes on a GPU, in a process of its own.

    python -m tests.gpu.measure steps '{"device": "cuda", "small": false, "precision": "tf32", "rates": {}}'

It prints each row of the table as soon as the row is known. An error ends the step; the rows that were printed stay.
"""

import json
import sys
import warnings
from importlib import import_module
from typing import Any

# The module of each step. Those of the first kind compute in this process; the others only start stages.
COMPUTING = {"environment": "hardware", "checks": "agreement", "steps": "speed", "epoch": "speed"}
COMPUTING |= {"checkpoint": "trainings_on_gpu"}
STARTING = {"processes": "stages_on_gpu", "training": "stages_on_gpu"}


def main(name: str, settings: dict[str, Any]) -> None:
    """Run one step as the stages would: deterministic, without TF32 unless it is asked for."""
    warnings.simplefilter("default")
    step = getattr(import_module(f"tests.gpu.{(COMPUTING | STARTING)[name]}"), name)
    if name in STARTING:
        step(settings)
        return
    from pipeline.runtime.device import configure_torch

    step(settings, configure_torch(settings["device"], 2).device)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
