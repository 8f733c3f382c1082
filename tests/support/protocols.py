"""One run of each protocol in params.yaml, and what makes it small."""

from pathlib import Path
from typing import Any

from pipeline.settings.params import check_run, load_params
from pipeline.settings.runs import Run

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
PROTOCOLS = [
    "mnist-baseline", "mnist-sabour", "smallnorb-baseline", "smallnorb-sabour", "cifar10-baseline", "cifar10-sabour",
]  # fmt: skip
ATTENTION = ["mnist-attention", "smallnorb-attention", "cifar10-attention", "mnist-attention-pairs"]
NARROW = {
    "conv_channels": 4,
    "encoder_channels": [4, 4, 4, 8],
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
    values = PARAMS.runs[name].model_dump()
    smaller = {key: value for key, value in NARROW.items() if key in values}
    return check_run({**values, **smaller, **changes}, name)
