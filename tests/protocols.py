"""One run of each protocol in params.yaml, and what makes it small."""

from pathlib import Path
from typing import Any

from pipeline.config import load_params, validate
from pipeline.settings.runs import Run

PARAMS = load_params(Path(__file__).parents[1] / "params.yaml")
PROTOCOLS = [
    "mnist-baseline", "mnist-sabour", "smallnorb-baseline", "smallnorb-sabour", "cifar10-baseline", "cifar10-sabour",
]  # fmt: skip
NARROW = {
    "conv_channels": 4,
    "primary_types": 2,
    "primary_dim": 4,
    "class_dim": 4,
    "decoder_hidden": [8],
    "decoder_channels": 2,
    "epochs": 2,
    "batch_size": 8,
    "checkpoint_every": 1,
    "device": "cpu",
    "threads": 1,
    "seeds": [],
}


def narrow(name: str, **changes: Any) -> Run:
    """Return a run of params.yaml with a network and a training that take milliseconds."""
    return validate(Run, {**PARAMS.runs[name].model_dump(), **NARROW, **changes}, name)
