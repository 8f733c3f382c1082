"""One run of each protocol in params.yaml, what makes it small, and images that it learns."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def pictures(shape: tuple[int, int, int], number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make images of a shape (size, channels, classes): a square whose place tells the class, on noise."""
    size, channels, classes = shape
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % classes
    images = generator.integers(0, 120, (number, channels, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        column = size // 4 + label * size // (2 * classes)
        image[:, size // 3 : 2 * size // 3, column : column + 3] = 230
    return images, labels.astype(np.int64)


def tensors(shape: tuple[int, int, int], number: int) -> tuple[Tensor, Tensor]:
    images, labels = pictures(shape, number)
    return torch.from_numpy(images), torch.from_numpy(labels)
