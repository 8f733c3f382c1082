"""Convolutions that tests compare: random images and kernels, torch's own convolution, outputs with gradients."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Convolution = Callable[[Tensor, Tensor, int], Tensor]


class ConvolutionGradients(NamedTuple):
    """The outputs and what a gradient of them is to images and kernels."""

    outputs: Tensor
    inputs: Tensor
    weight: Tensor


def images_and_kernels(
    batch: int, channels: int, outputs: int, size: int, kernel: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Return random images (batch, channels, size, size) and kernels (outputs, channels, kernel, kernel)."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(batch, channels, size, size, generator=generator, dtype=torch.float64)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), (weight / (channels * kernel**2) ** 0.5).to(dtype)


def directly(inputs: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve with torch's own operation."""
    return functional.conv2d(inputs, weight, None, stride)


def there_and_back(convolve: Convolution, inputs: Tensor, weight: Tensor, stride: int) -> ConvolutionGradients:
    """Convolve, and differentiate with a random gradient of the outputs."""
    arguments = [each.detach().clone().requires_grad_() for each in (inputs, weight)]
    outputs = convolve(*arguments, stride)
    grad_outputs = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    outputs.backward(grad_outputs.to(outputs.dtype))
    return ConvolutionGradients(outputs.detach(), *(each.grad for each in arguments if each.grad is not None))


def error(got: Tensor, exact: Tensor) -> float:
    """Return the norm of the difference relative to that of the exact values."""
    return float((got.double() - exact).norm() / exact.norm())
