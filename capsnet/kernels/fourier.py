"""Convolution with a large kernel in the Fourier domain: the primary capsules' one is 94 % of the network's arithmetic.

Axes: B batch, C input channels, N output channels, H input pixels, S kernel pixels and O output pixels along a side,
R products of a transformed pixel with a transformed weight.

A convolution of stride s is a sum over s x s phases (every s-th row and column of image and kernel) of convolutions of
stride 1. In the frequency domain each of these is a product, but for the channels: with the transforms X = U x of the
phase's pixels and W = V w of its weights, Y[r] = X[r] W[r] is a matrix product over the channels, and y = A Y after the
sum over the phases. Of two conjugate frequencies one is enough, and a complex product takes three real ones: U, V and A
are constant real matrices. For 20x20 pixels, 9x9 weights and stride 2 the definition multiplies 36 x 81 = 2916 times
for each pair of channels, this 4 x 148 = 592 times, to the same rounding error or a smaller one.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

BLOCK = 64  # channels transformed at a time for the gradients; the fewer, the less memory
WORTH_IT = 2.0  # by how much fewer multiplications make up for passing over memory more often


def conv2d(
    inputs: Float[Tensor, "B C H H"],
    weight: Float[Tensor, "N C S S"],
    bias: Float[Tensor, " N"] | None = None,
    stride: int = 1,
) -> Float[Tensor, "B N O O"]:
    """Convolve square images as `torch.nn.functional.conv2d` does, on a CPU in the Fourier domain where that is faster.

    Under autocast the products are in its type and so is the result. The result has the channels last.
    """
    if not (inputs.device.type == "cpu" and _advantage(inputs.shape, weight.shape, stride) >= WORTH_IT):
        return functional.conv2d(inputs, weight, bias, stride)
    outputs = fourier_conv2d(inputs, weight, stride)
    return outputs if bias is None else outputs + bias.to(outputs.dtype)[:, None, None]


def fourier_conv2d(
    inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int = 1
) -> Float[Tensor, "B N O O"]:
    """Convolve square images with square kernels in the Fourier domain, whether that is faster or not."""
    autocast = torch.is_autocast_enabled(inputs.device.type)
    dtype = torch.get_autocast_dtype(inputs.device.type) if autocast else inputs.dtype
    with torch.autocast(inputs.device.type, enabled=False):
        outputs: Tensor = _FourierConvolution.apply(inputs, weight, stride, dtype)
    return outputs


class _Part(NamedTuple):
    """A phase and a block of channels, transformed at a time, and the matrices of the phase."""

    where: tuple[slice, ...]  # along the axes of images and weights
    of_pixels: Float[Tensor, "R P"]  # U
    of_weights: Float[Tensor, "R P"]  # V

    def of(self, values: Float[Tensor, "M C H H"]) -> Float[Tensor, "Y X M C"]:
        """Return this part of images or weights, as a view."""
        chosen: Tensor = values[self.where]
        return chosen.permute(2, 3, 0, 1)


class _FourierConvolution(torch.autograd.Function):
    """Has products in `dtype`, and keeps nothing but the arguments between the two passes."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int, dtype: torch.dtype
    ) -> Float[Tensor, "B N O O"]:
        ctx.save_for_backward(inputs, weight)
        ctx.stride, ctx.dtype = stride, dtype
        parts, of_products = _parts(inputs, weight, stride)
        room = _Room(len(of_products), inputs, weight, dtype)
        sums = torch.zeros_like(room.products, dtype=torch.promote_types(dtype, torch.float32))
        for part in parts:
            pixels = _transform(part.of_pixels, part.of(inputs), room.pixels)
            weights = _transform(part.of_weights, part.of(weight), room.weights)
            sums += torch.bmm(pixels, weights.transpose(1, 2), out=room.products)
        side = (inputs.shape[2] - weight.shape[2]) // stride + 1
        outputs: Tensor = _transform_back(of_products, sums).to(dtype).unflatten(0, (side, side))
        return outputs.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_outputs: Float[Tensor, "B N O O"]) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        parts, of_products = _parts(inputs, weight, ctx.stride)
        room = _Room(len(of_products), inputs, weight, ctx.dtype)
        grad_inputs = torch.zeros_like(inputs, memory_format=torch.channels_last)
        grad_weight = torch.zeros_like(weight, memory_format=torch.channels_last)
        grad_products = _transform(of_products, grad_outputs.permute(2, 3, 0, 1), room.products.view(-1))
        for part in parts:
            pixels = _transform(part.of_pixels, part.of(inputs), room.pixels)
            weights = room.weights[: math.prod(pixels.shape[::2]) * len(weight)].view(len(pixels), len(weight), -1)
            torch.bmm(grad_products.transpose(1, 2), pixels, out=weights)
            _fill(part.of(grad_weight), _transform_back(part.of_weights, weights))
            weights = _transform(part.of_weights, part.of(weight), room.weights)
            torch.bmm(grad_products, weights, out=pixels)
            _fill(part.of(grad_inputs), _transform_back(part.of_pixels, pixels))
        return grad_inputs, grad_weight, None, None


class _Room:
    """Memory for a part's transforms and for products, in one piece and used again and again.

    A large piece goes back to the system when it is freed, many of middle size would stay with the process.
    """

    def __init__(
        self, products: int, inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], dtype: torch.dtype
    ) -> None:
        batch, outputs, channels = len(inputs), len(weight), min(BLOCK, inputs.shape[1])
        sizes = [products * batch * channels, products * outputs * channels, products * batch * outputs]
        self.pixels, self.weights, rest = torch.empty(sum(sizes), dtype=dtype).split(sizes)
        self.products = rest.view(products, batch, outputs)


def _transform(
    matrix: Float[Tensor, "R P"], values: Float[Tensor, "Y X M C"], room: Float[Tensor, " F"]
) -> Float[Tensor, "R M C"]:
    flat = values.to(room.dtype).reshape(matrix.shape[1], -1)
    out = room[: len(matrix) * flat.shape[1]].view(len(matrix), -1)
    return torch.mm(matrix.to(room.dtype), flat, out=out).view(-1, *values.shape[2:])


def _transform_back(matrix: Float[Tensor, "R P"], products: Float[Tensor, "R M C"]) -> Float[Tensor, "P M C"]:
    return torch.mm(matrix.t().to(products.dtype), products.flatten(1)).view(-1, *products.shape[1:])


def _fill(view: Float[Tensor, "Y X M C"], values: Float[Tensor, "P M C"]) -> None:
    view.copy_(values.view(view.shape))


def _parts(
    inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int
) -> tuple[list[_Part], Float[Tensor, "R OO"]]:
    """Return the parts whose convolutions add up to the whole one, and A transposed."""
    phases, of_products = _matrices(inputs.shape[2], weight.shape[2], stride)
    parts = [
        _Part((slice(None), slice(first, first + BLOCK), slice(row, None, stride), slice(column, None, stride)), *both)
        for (row, column), *both in phases
        for first in range(0, inputs.shape[1], BLOCK)
    ]
    return parts, of_products


def _advantage(images: torch.Size, weight: torch.Size, stride: int) -> float:
    """Return how many times the multiplications by definition are of those in the Fourier domain."""
    batch, channels, size, _ = images
    outputs, _, kernel, _ = weight
    side = (size - kernel) // stride + 1
    if side < 1 or kernel < stride:
        return 0.0
    grid = math.ceil(size / stride)
    products = 3 * (grid**2 // 2) + 1
    pixels, weights = grid**2, math.ceil(kernel / stride) ** 2
    of_a_phase = batch * channels * outputs + pixels * batch * channels + weights * channels * outputs
    fourier = products * (stride**2 * of_a_phase + side**2 * batch * outputs)
    return side**2 * kernel**2 * batch * channels * outputs / fourier


@functools.lru_cache(maxsize=16)
def _matrices(
    size: int, kernel: int, stride: int
) -> tuple[list[tuple[tuple[int, int], Tensor, Tensor]], Float[Tensor, "R OO"]]:
    """Return where each phase starts with its U and V, and A transposed, in float64."""
    grid, side = math.ceil(size / stride), (size - kernel) // stride + 1
    of_pixels, of_weights, of_products = _transforms(grid, math.ceil(kernel / stride), side)
    phases = []
    for row, column in _pairs(stride):
        pixels, weights = ([len(range(start, length, stride)) for start in (row, column)] for length in (size, kernel))
        phases.append(((row, column), _corner(of_pixels, *pixels), _corner(of_weights, *weights)))
    return phases, of_products.flatten(1)


def _corner(matrix: Float[Tensor, "R Y X"], rows: int, columns: int) -> Float[Tensor, "R P"]:
    """Drop the columns of pixels that a phase does not have: they would be zero."""
    return matrix[:, :rows, :columns].flatten(1)


def _transforms(
    grid: int, kernel: int, side: int
) -> tuple[Float[Tensor, "R H H"], Float[Tensor, "R S S"], Float[Tensor, "R O O"]]:
    """Return U, V and A transposed for the correlation of grid x grid pixels with kernel x kernel weights.

    With X = a + i b and the conjugate W = c + i d of a frequency, the outputs need Re = a c - b d and Im = a d + b c:
    from a c, b d and (a + b)(c + d), where a frequency that is its own conjugate needs a c alone.
    """
    of_pixels, of_weights, of_products = [], [], []
    for frequency in _pairs(grid):
        mirrored = tuple(-f % grid for f in frequency)
        if mirrored < frequency:
            continue
        pixels, weights, outputs = (2 * math.pi / grid * _waves(frequency, length) for length in (grid, kernel, side))
        share = 1 / grid**2
        if mirrored == frequency:
            of_pixels += [pixels.cos()]
            of_weights += [weights.cos()]
            of_products += [share * outputs.cos()]
        else:
            a, b, c, d = pixels.cos(), -pixels.sin(), weights.cos(), weights.sin()
            real, imaginary = 2 * share * outputs.cos(), -2 * share * outputs.sin()
            of_pixels += [a, b, a + b]
            of_weights += [c, d, c + d]
            of_products += [real - imaginary, -real - imaginary, imaginary]
    return torch.stack(of_pixels), torch.stack(of_weights), torch.stack(of_products)


def _pairs(number: int) -> Iterator[tuple[int, int]]:
    return ((first, second) for first in range(number) for second in range(number))


def _waves(frequency: tuple[int, int], length: int) -> Float[Tensor, "H H"]:
    along = torch.arange(length, dtype=torch.float64)
    return frequency[0] * along[:, None] + frequency[1] * along
