"""Adam with its state laid out before the first step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn


def adam(model: nn.Module, lr: Float[Tensor, ""]) -> torch.optim.Adam:
    """Return Adam for all parameters of a model; it reads the learning rate from the tensor `lr`.

    torch would create the state in the first step. Here it exists from the start, so that a training state can be
    restored, and a step captured as a CUDA graph, at any time.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr, fused=True)
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def state_by_name(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the tensors of an optimiser's state, not copies of them, by parameter and entry."""
    return {
        f"{name}.{entry}": value
        for name, parameter in model.named_parameters()
        for entry, value in optimizer.state[parameter].items()
    }


@contextmanager
def capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Allow the optimiser to be captured as part of a CUDA graph in the block.

    torch's Adam refuses to be captured unless its option `capturable` is set. Outside a capture, that option causes a
    warning. The fused Adam computes the same with and without it.
    """
    for group in optimizer.param_groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in optimizer.param_groups:
            group["capturable"] = False
