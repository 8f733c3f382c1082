"""What all measurements on a GPU share: the runs, their images, and the time of some work."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from capsnet.networks.capsnet import NetworkConfig
from capsnet.training.step import PRECISIONS
from capsnet.training.training_config import TrainingConfig
from pipeline.runtime.masking import first_line
from pipeline.runtime.prepared import read_prepared
from pipeline.settings.params import load_params
from tests.benchmarks.workloads import synchronise
from tests.gpu.gpu_table import tell
from tests.gpu.workplace import TINY

RUNS = ("mnist-fc", "mnist-deconv_bn", "mnist-attention")  # those of them that params.yaml has
Settings = dict[str, Any]


def networks(settings: Settings) -> Iterator[tuple[str, NetworkConfig, TrainingConfig]]:
    """Yield name, network and training of the runs that are measured; of tiny ones where everything is to be small."""
    runs = load_params().runs
    for name in RUNS:
        if name in runs:
            model, config = runs[name].model(28, 1, 10), replace(runs[name].training(), validation=0.0)
            if settings["small"] and hasattr(model, "conv_channels"):
                tiny = {setting: tuple(value) if isinstance(value, list) else value for setting, value in TINY.items()}
                model = replace(model, **tiny)
            elif settings["small"]:
                model = replace(model, encoder_channels=(4, 4, 8, model.encoder_channels[-1]))
            yield name, model, config


def precisions(name: str, settings: Settings) -> tuple[str, ...]:
    """Return the precisions that a run is measured in; where all is to be small, one run has all of them."""
    every = tuple(PRECISIONS)
    return every if not settings["small"] or name == "mnist-deconv_bn" else every[:1]


def mnist(split: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images and labels of MNIST, or what lies in its place in this folder."""
    data = read_prepared("mnist", split, device)
    return data.images, data.labels


@contextmanager
def failures_told(what: str, unit: str) -> Iterator[None]:
    """Tell of the block that it failed, or that the card's memory was too small for it, and go on after it."""
    try:
        yield
    except torch.OutOfMemoryError:
        tell(what, unit, None, "", "more than the card's memory")
    except Exception as error:
        traceback.print_exc()
        tell(what, unit, None, "failed", f"{type(error).__name__}: {first_line(error)}")


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
