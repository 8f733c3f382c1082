"""The implementations of routing as parameters of tests, an oracle, and random capsules of any size.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from capsnet.networks.routing import IMPLEMENTATIONS, dynamic_routing


class RoutingGradients(NamedTuple):
    """The capsules and what a gradient of them is to the arguments, in float64."""

    capsules: Tensor
    inputs: Tensor
    weight: Tensor
    bias: Tensor


def implementations(without: Iterable[str] = (), slow: Iterable[str] = ()) -> list[Any]:
    """Return implementations as parameters; those of `slow` are marked so."""
    return [
        pytest.param(name, marks=[pytest.mark.slow] if name in slow else [])
        for name in IMPLEMENTATIONS
        if name not in without
    ]


def precision(implementation: str) -> torch.dtype:
    """Return the highest precision that an implementation has."""
    return torch.float32 if implementation == "triton" else torch.float64


def random_capsules(
    batch: int, lower: int, upper: int, dim: int, upper_dim: int, dtype: torch.dtype = torch.float32, seed: int = 7
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make inputs, weight and bias with couplings far from uniform, and a gradient of the capsules."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    inputs, weight = normal(batch, lower, dim), normal(lower, upper, dim, upper_dim) / (dim * lower) ** 0.5
    bias, grad_capsules = 0.1 * normal(upper, upper_dim), normal(batch, upper, upper_dim)
    return inputs.to(dtype), weight.to(dtype), bias.to(dtype), grad_capsules


def routed(
    implementation: str, inputs: Tensor, weight: Tensor, bias: Tensor, grad_capsules: Tensor, **options: Any
) -> RoutingGradients:
    """Route there and back."""
    arguments = [each.detach().clone().requires_grad_() for each in (inputs, weight, bias)]
    capsules = dynamic_routing(*arguments, implementation=implementation, **options).capsules
    capsules.backward(grad_capsules.to(capsules))
    return RoutingGradients(
        capsules.detach().double(), *(each.grad.double() for each in arguments if each.grad is not None)
    )


def oracle(*tensors: Tensor, **options: Any) -> RoutingGradients:
    """Do the same with all votes in float64 on the CPU, differentiated by PyTorch."""
    return routed("plain", *(each.double().cpu() for each in tensors), **options)


def assert_close(got: RoutingGradients, expected: RoutingGradients, relative: float = 1e-5) -> None:
    """Compare with the largest number of each tensor."""
    for name, one, other in zip(RoutingGradients._fields, got, expected, strict=True):
        assert one.shape == other.shape, name
        assert (one.cpu() - other).abs().max() <= relative * other.abs().max(), name
