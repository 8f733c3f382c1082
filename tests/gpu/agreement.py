"""Whether a GPU computes the right numbers: recorded steps against plain ones, routing against float64."""

from dataclasses import replace

import torch
from torch import Tensor

from capsnet.networks.capsnet import NetworkConfig
from capsnet.networks.routing import dynamic_routing
from capsnet.training.processes import Processes
from capsnet.training.step import PRECISIONS, Trainer
from capsnet.training.training_config import TrainingConfig
from tests.benchmarks.workloads import random_images
from tests.gpu.gpu_table import tell
from tests.gpu.measured_runs import Settings, networks


def checks(settings: Settings, device: torch.device) -> None:
    """Compare recorded steps with steps that are not, and routing with float64, in the sizes of the paper."""
    sizes = (4, 16, 10, 8, 16) if settings["small"] else (128, 1152, 10, 8, 16)
    for leaky in (False, True):
        worst = routing_error(sizes, leaky, device)
        name = f"routing{', leaky' if leaky else ''}: largest error against float64"
        tell(name, "relative", worst, "ok" if worst < 1e-5 else "failed")
    for precision in PRECISIONS:
        for name, model, config in networks(settings):
            replayed, eager = (small_trainer(model, replace(config, precision=precision), device) for _ in range(2))
            eager.recorder = None
            for trainer in (replayed, eager):
                for epoch in (1, 2):
                    for _ in trainer.epoch(epoch, [32, 32, 16], [0.001] * 3, config.alpha):
                        pass
            worst = largest_difference(replayed.tensors(), eager.tensors())
            tell(
                f"{name}, {precision}: recorded steps against plain ones",
                "relative",
                worst,
                "ok" if worst < 1e-5 else "failed",
                "equal to the bit" if worst == 0 else "",
            )


def routing_error(sizes: tuple[int, int, int, int, int], leaky: bool, device: torch.device) -> float:
    """Return the largest error of capsules and gradients, relative to the largest number of each."""
    batch, lower, upper, dim, upper_dim = sizes
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs, weight = normal(batch, lower, dim), normal(lower, upper, dim, upper_dim) / (dim * lower) ** 0.5
    grad = normal(batch, upper, upper_dim)
    results = []
    for dtype, implementation in ((torch.float64, "tiled"), (torch.float32, "auto")):
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
