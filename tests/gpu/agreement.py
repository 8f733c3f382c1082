"""Whether a GPU computes the right numbers: captured steps against plain ones, routing against float64."""

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from capsnet.networks.capsnet import NetworkConfig
from capsnet.networks.routing import dynamic_routing
from capsnet.training.processes import Processes
from capsnet.training.step import Trainer
from capsnet.training.training_config import TrainingConfig
from tests.benchmarks.workloads import random_images
from tests.gpu.gpu_table import tell
from tests.gpu.measured_runs import Settings, failures_told, networks, precisions
from tests.support.like_a_gpu import captured


def checks(settings: Settings, device: torch.device) -> None:
    """Compare the Triton kernels with float64 in the sizes of the paper, and replayed steps with plain ones."""
    sizes = (4, 16, 10, 8, 16) if settings["small"] else (128, 1152, 10, 8, 16)
    for leaky in (False, True):
        name = f"Triton routing{', leaky' if leaky else ''}: largest error against float64"
        with failures_told(name, "relative"):
            worst = routing_error(sizes, leaky, device)
            tell(name, "relative", worst, "ok" if worst < 1e-5 else "failed")
    for run, model, config in networks(settings):
        for precision in precisions(run, settings):
            name = f"{run}, {precision}: captured steps against plain ones"
            with failures_told(name, "relative"):
                worst = replay_error(model, replace(config, precision=precision), device)
                note = "equal to the bit" if worst == 0 else ""
                tell(name, "relative", worst, "ok" if worst < 1e-5 else "failed", note)


def replay_error(model: NetworkConfig, config: TrainingConfig, device: torch.device) -> float:
    """Return the largest difference after two epochs with replayed steps and with plain ones.

    On a CPU a replayer stands in that replays operations as a GPU would. Raises ValueError if nothing was captured.
    """
    replayed, eager = (small_trainer(model, config, device) for _ in range(2))
    with nullcontext() if device.type == "cuda" else captured(replayed):
        two_epochs(replayed, config)
        if replayed.replayer is None or not replayed.replayer.graphs:
            raise ValueError("replayer: got no captured step, expected one for each size of batch")
    eager.replayer = None
    two_epochs(eager, config)
    return largest_difference(replayed.tensors(), eager.tensors())


def two_epochs(trainer: Trainer, config: TrainingConfig) -> None:
    """Train two epochs of three batches in two sizes."""
    for epoch in (1, 2):
        for _ in trainer.epoch(epoch, [32, 32, 16], [0.001] * 3, config.alpha):
            pass


def routing_error(sizes: tuple[int, int, int, int, int], leaky: bool, device: torch.device) -> float:
    """Return the largest error of the kernels' capsules and gradients, relative to the largest number of each."""
    batch, lower, upper, dim, upper_dim = sizes
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs, weight = normal(batch, lower, dim), normal(lower, upper, dim, upper_dim) / (dim * lower) ** 0.5
    grad = normal(batch, upper, upper_dim)
    results = []
    for dtype, implementation in ((torch.float64, "tiled"), (torch.float32, "triton")):
        arguments = [each.to(device, dtype, copy=True).requires_grad_() for each in (inputs, weight)]
        capsules = dynamic_routing(*arguments, leaky=leaky, implementation=implementation).capsules
        capsules.backward(grad.to(device, dtype))
        results.append([capsules.detach(), *(each.grad for each in arguments)])
    return max(
        ((one - other.double()).abs().max() / one.abs().max()).item() for one, other in zip(*results, strict=True)
    )


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest difference of two states, relative to the largest number of each tensor."""
    return max(
        ((tensor.double() - other[name].double()).abs().max() / tensor.double().abs().max().clamp(min=1e-30)).item()
        for name, tensor in one.items()
    )


def small_trainer(model: NetworkConfig, config: TrainingConfig, device: torch.device) -> Trainer:
    """Return a trainer of 80 random images."""
    images, labels = random_images(80, model, device)
    return Trainer(model, config, images, labels, torch.arange(80, device=device), 0, Processes())
