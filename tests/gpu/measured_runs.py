"""What all measurements on a GPU share: the runs, their images, and the time of some work."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from capsnet.networks.capsnet import NetworkConfig
from capsnet.training.training_config import TrainingConfig
from pipeline.runtime.prepared import DATA, read_prepared
from pipeline.settings.params import load_params
from tests.benchmarks.workloads import synchronise

RUNS = ("mnist-fc", "mnist-deconv_bn", "mnist-attention")  # those of them that params.yaml has
Settings = dict[str, Any]


def networks(settings: Settings) -> Iterator[tuple[str, NetworkConfig, TrainingConfig]]:
    """Yield name, network and training of the runs that are measured; of tiny ones where everything is to be small."""
    runs = load_params().runs
    for name in RUNS:
        if name in runs:
            model, config = runs[name].model(28, 1, 10), replace(runs[name].training(), validation=0.0)
            if settings["small"] and hasattr(model, "conv_channels"):
                model = replace(model, conv_channels=8, primary_types=2, decoder_hidden=(16, 24), decoder_channels=4)
            yield name, model, config


def mnist(split: str, settings: Settings, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return MNIST where it was prepared, else as many random images; a few of them where all is to be small."""
    if (DATA / "mnist.npz").is_file():
        data = read_prepared("mnist", split, device)
        images, labels = data.images, data.labels
    else:
        generator = torch.Generator().manual_seed(0)
        number = 60_000 if split == "train" else 10_000
        images = torch.randint(0, 256, (number, 1, 28, 28), generator=generator, dtype=torch.uint8).to(device)
        labels = torch.randint(0, 10, (number,), generator=generator).to(device)
    few = 64 if settings["small"] else len(images)
    return images[:few], labels[:few]


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Return the median of five measurements of so many repeats, per repeat."""
    for _ in range(3):
        work()
    taken = []
    for _ in range(5):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        synchronise(device)
        taken.append((time.perf_counter() - start) / repeats)
    return sorted(taken)[2]
