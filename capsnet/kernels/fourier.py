"""Convolution with a large kernel in the Fourier domain: the primary capsules' one is 94 % of the network's arithmetic.

Axes: B batch, C input channels, N output channels, H input pixels, S kernel pixels and O output pixels along a side,
F real numbers of a transform, R products of a transformed pixel with a transformed weight.

A convolution of stride s is a sum over s x s phases (every s-th row and column of image and kernel) of convolutions of
stride 1. In the frequency domain each of these is a product, but for the channels: with the transforms X = U x of the
phase's pixels and W = V w of its weights, Y[r] = X[r] W[r] is a matrix product over the channels, and y = A Y after the
sum over the phases. Of two conjugate frequencies one is enough, and a complex product takes three real ones: with
X = a + i b and the conjugate W = c + i d, Re = a c - b d and Im = (a + b)(c + d) - a c - b d. U, V and A are constant
real matrices. For 20x20 pixels, 9x9 weights and stride 2 the definition multiplies 36 x 81 = 2916 times for each pair
of channels, this 4 x 148 = 592 times. Rounding errors are of the size of torch's own in float32, and
twice that in bfloat16.
"""

import functools
import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from capsnet.kernels.unfolded import unfolded_conv2d

BLOCK = 256  # bytes of each pixel, 64 channels in float32, transformed at a time; the fewer, the less memory
WORTH_IT = 2.0  # by how much fewer multiplications make up for passing over memory more often


def conv2d(
    inputs: Float[Tensor, "B C H H"],
    weight: Float[Tensor, "N C S S"],
    bias: Float[Tensor, " N"] | None = None,
    stride: int = 1,
    *,
    rectify: bool = False,
) -> Float[Tensor, "B N O O"]:
    """Convolve square images as `torch.nn.functional.conv2d` does, in the way that is fastest for their device.

    That is the Fourier domain on a CPU for large kernels, one matrix product on a GPU (`capsnet.kernels.unfolded`).

    With `rectify` it is the images' ReLU that is convolved. Under autocast the products are in its type and so is the
    result.
    """
    if inputs.is_cuda:
        outputs = unfolded_conv2d(inputs.relu() if rectify else inputs, weight, stride)
        return outputs if bias is None else outputs + bias.to(outputs.dtype)[:, None, None]
    if not (inputs.device.type == "cpu" and _advantage(inputs.shape, weight.shape, stride) >= WORTH_IT):
        return functional.conv2d(inputs.relu() if rectify else inputs, weight, bias, stride)
    outputs = fourier_conv2d(inputs, weight, stride, rectify=rectify)
    return outputs if bias is None else outputs + bias.to(outputs.dtype)[:, None, None]


def fourier_conv2d(
    inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int = 1, *, rectify: bool = False
) -> Float[Tensor, "B N O O"]:
    """Convolve square images with square kernels in the Fourier domain, whether that is faster or not.

    With `rectify` it is the images' ReLU that is convolved, without a copy of them. Where nobody can look at the images
    any more the backward pass writes their gradient into their memory.
    """
    autocast = torch.is_autocast_enabled(inputs.device.type)
    dtype = torch.get_autocast_dtype(inputs.device.type) if autocast else inputs.dtype
    with torch.autocast(inputs.device.type, enabled=False):
        outputs: Tensor = _FourierConvolution.apply(inputs, weight, stride, dtype, rectify)
    return outputs


class _Part(NamedTuple):
    """A phase and a block of channels, transformed at a time, and the matrices of the phase."""

    where: tuple[slice, ...]  # along the axes of images and weights
    of_pixels: Float[Tensor, "F P"]  # U
    of_weights: Float[Tensor, "F P"]  # V

    def of(self, values: Float[Tensor, "M C H H"]) -> Float[Tensor, "Y X M T"]:
        """Return this part of images or weights, with T of the channels, as a view."""
        chosen: Tensor = values[self.where]
        return chosen.permute(2, 3, 0, 1)


class _FourierConvolution(torch.autograd.Function):
    """Has products in `dtype`, and keeps nothing but the arguments between the two passes."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Float[Tensor, "B C H H"],
        weight: Float[Tensor, "N C S S"],
        stride: int,
        dtype: torch.dtype,
        rectify: bool,
    ) -> Float[Tensor, "B N O O"]:
        # The images by another name: whether their own one is still in use can then be told.
        ctx.save_for_backward(weight, inputs.detach())
        ctx.stride, ctx.dtype, ctx.rectify = stride, dtype, rectify
        parts, of_products = _parts(inputs, weight, stride, dtype)
        room = _Room(_num_products(len(of_products)), inputs, weight, dtype)
        half = dtype.itemsize < 4
        sums = torch.zeros_like(room.products, dtype=torch.float32) if half else room.products.zero_()
        for part in parts:
            pixels = _transform(part.of_pixels, part.of(inputs), room.pixels, rectify=rectify)
            weights = _transform(part.of_weights, part.of(weight), room.weights)
            if half:
                sums += torch.bmm(pixels, weights.transpose(1, 2), out=room.products)
            else:
                sums.baddbmm_(pixels, weights.transpose(1, 2))
        side = (inputs.shape[2] - weight.shape[2]) // stride + 1
        outputs = _outputs(of_products, sums).to(dtype).unflatten(0, (side, side))
        images: Tensor = outputs.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)
        return images

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_outputs: Float[Tensor, "B N O O"]) -> tuple[Tensor | None, ...]:
        weight, inputs = ctx.saved_tensors
        free = ctx.rectify and _is_read_by_nobody_else(inputs)
        parts, of_products = _parts(inputs, weight, ctx.stride, ctx.dtype)
        room = _Room(_num_products(len(of_products)), inputs, weight, ctx.dtype)
        grad_inputs = inputs if free else torch.empty_like(inputs, memory_format=torch.channels_last)
        grad_weight = torch.empty_like(weight, memory_format=torch.channels_last)
        grad_products = _grad_products(of_products, grad_outputs.permute(2, 3, 0, 1), room.products)
        for part in parts:
            pixels = _transform(part.of_pixels, part.of(inputs), room.pixels, rectify=ctx.rectify)
            weights = room.weights[: math.prod(pixels.shape[::2]) * len(weight)].view(len(pixels), len(weight), -1)
            torch.bmm(grad_products.transpose(1, 2), pixels, out=weights)
            of_weight = part.of(grad_weight)
            of_weight.copy_(_gradient(part.of_weights, weights).view(of_weight.shape))
            weights = _transform(part.of_weights, part.of(weight), room.weights)
            torch.bmm(grad_products, weights, out=pixels)
            of_inputs = _gradient(part.of_pixels, pixels).view(part.of(inputs).shape)
            # Where ReLU was at zero there is no gradient; this part of the images is read for the last time here.
            part.of(grad_inputs).copy_(of_inputs.mul_(part.of(inputs) > 0) if ctx.rectify else of_inputs)
        return grad_inputs, grad_weight, None, None, None


def _is_read_by_nobody_else(saved: Tensor) -> bool:
    """Whether the memory of a saved tensor is that tensor's alone, and this the last backward pass through its graph.

    A forward hook that kept the images, another function that saved them, a view of them, a leaf: each has a share in
    the memory, and is counted.
    """
    if torch._C._autograd._get_current_graph_task_keep_graph():
        return False
    return _users(saved) == _users(torch.empty(1))


def _users(tensor: Tensor) -> tuple[int, int]:
    """Count the tensors that share the memory of one, and the names that Python has for that memory."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)


class _Room:
    """Memory for a part's transforms and for products, in one piece and used again and again.

    A large piece goes back to the system when it is freed, many of middle size would stay with the process.
    """

    def __init__(
        self, products: int, inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], dtype: torch.dtype
    ) -> None:
        batch, outputs, channels = len(inputs), len(weight), min(_block(dtype), inputs.shape[1])
        sizes = [products * batch * channels, products * outputs * channels, products * batch * outputs]
        self.pixels, self.weights, rest = torch.empty(sum(sizes), dtype=dtype).split(sizes)
        self.products = rest.view(products, batch, outputs)


def _transform(
    matrix: Float[Tensor, "F P"], values: Float[Tensor, "Y X M C"], room: Float[Tensor, " Z"], *, rectify: bool = False
) -> Float[Tensor, "R M C"]:
    """Return a and b of each frequency of the values or of their ReLU, and behind them all a + b."""
    copied = values.to(room.dtype, memory_format=torch.contiguous_format, copy=True)
    flat = (copied.relu_() if rectify else copied).view(matrix.shape[1], math.prod(values.shape[2:]))
    out = room[: _num_products(len(matrix)) * flat.shape[1]].view(-1, flat.shape[1])
    torch.mm(matrix.to(room.dtype), flat, out=out[: len(matrix)])
    real, imaginary, both = _complex(out, len(matrix))
    torch.add(real, imaginary, out=both)
    return out.view(-1, *values.shape[2:])


def _gradient(matrix: Float[Tensor, "F P"], transformed: Float[Tensor, "R M C"]) -> Float[Tensor, "P M C"]:
    """Return what `_transform` makes of the gradient of its result, which is used up."""
    flat = transformed.flatten(1)
    real, imaginary, both = _complex(flat, len(matrix))
    real += both
    imaginary += both
    return torch.mm(matrix.t().to(flat.dtype), flat[: len(matrix)]).view(-1, *transformed.shape[1:])


def _outputs(matrix: Float[Tensor, "F OO"], products: Float[Tensor, "R B N"]) -> Float[Tensor, "OO B N"]:
    """Return y of the products, which are used up."""
    flat = products.flatten(1)
    real, imaginary, both = _complex(flat, len(matrix))
    both -= real
    real -= imaginary
    torch.sub(both, imaginary, out=imaginary)
    return torch.mm(matrix.t().to(flat.dtype), flat[: len(matrix)]).view(-1, *products.shape[1:])


def _grad_products(
    matrix: Float[Tensor, "F OO"], grad_outputs: Float[Tensor, "Y X B N"], out: Float[Tensor, "R B N"]
) -> Float[Tensor, "R B N"]:
    """Return the gradient of the products of `_outputs`."""
    flat = out.flatten(1)
    torch.mm(matrix.to(out.dtype), grad_outputs.to(out.dtype).reshape(matrix.shape[1], -1), out=flat[: len(matrix)])
    real, imaginary, both = _complex(flat, len(matrix))
    both.copy_(imaginary)
    torch.add(real, imaginary, out=imaginary).neg_()
    real -= both
    return out


def _complex(products: Float[Tensor, "R Z"], frequencies: int) -> tuple[Float[Tensor, "Q Z"], ...]:
    """Return the rows of complex frequencies: a, b and a + b, or what becomes of them; real frequencies come before."""
    number = len(products) - frequencies
    middle = frequencies - number
    return products[middle - number : middle], products[middle:frequencies], products[frequencies:]


def _num_products(frequencies: int) -> int:
    """Return R for the F = grid^2 real numbers in the transform of a grid: 3 for two, but for its real frequencies."""
    grid = math.isqrt(frequencies)
    return frequencies + (frequencies - (1 if grid % 2 else 4)) // 2


def _parts(
    inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int, dtype: torch.dtype
) -> tuple[list[_Part], Float[Tensor, "F OO"]]:
    """Return the parts whose convolutions add up to the whole one, and A transposed."""
    block = _block(dtype)
    phases, of_products = _matrices(inputs.shape[2], weight.shape[2], stride)
    parts = [
        _Part((slice(None), slice(first, first + block), slice(row, None, stride), slice(column, None, stride)), *both)
        for (row, column), *both in phases
        for first in range(0, inputs.shape[1], block)
    ]
    return parts, of_products


def _block(dtype: torch.dtype) -> int:
    """Return how many channels make up a part of transforms in `dtype`."""
    return BLOCK // dtype.itemsize


def _advantage(images: torch.Size, weight: torch.Size, stride: int) -> float:
    """Return how many times the multiplications by definition are of those in the Fourier domain."""
    batch, channels, size, _ = images
    outputs, _, kernel, _ = weight
    side = (size - kernel) // stride + 1
    if side < 1 or kernel < stride:
        return 0.0
    frequencies = math.ceil(size / stride) ** 2
    transforms = size**2 * batch * channels + kernel**2 * channels * outputs + side**2 * batch * outputs
    fourier = _num_products(frequencies) * stride**2 * batch * channels * outputs + frequencies * transforms
    return side**2 * kernel**2 * batch * channels * outputs / fourier


@functools.lru_cache(maxsize=16)
def _matrices(
    size: int, kernel: int, stride: int
) -> tuple[list[tuple[tuple[int, int], Tensor, Tensor]], Float[Tensor, "F OO"]]:
    """Return where each phase starts with its U and V, and A transposed, in float64."""
    grid, side = math.ceil(size / stride), (size - kernel) // stride + 1
    of_pixels, of_weights, of_products = _transforms(grid, math.ceil(kernel / stride), side)
    phases = []
    for row, column in _pairs(stride):
        pixels, weights = ([len(range(start, length, stride)) for start in (row, column)] for length in (size, kernel))
        phases.append(((row, column), _corner(of_pixels, *pixels), _corner(of_weights, *weights)))
    return phases, of_products.flatten(1)


def _corner(matrix: Float[Tensor, "F Y X"], rows: int, columns: int) -> Float[Tensor, "F P"]:
    """Drop the columns of pixels that a phase does not have: they would be zero."""
    return matrix[:, :rows, :columns].flatten(1)


def _transforms(
    grid: int, kernel: int, side: int
) -> tuple[Float[Tensor, "F H H"], Float[Tensor, "F S S"], Float[Tensor, "F O O"]]:
    """Return U, V and A transposed for the correlation of grid x grid pixels with kernel x kernel weights.

    A row each for the real frequencies, then for the real parts and then for the imaginary parts of the others.
    """
    share = 1 / grid**2
    alone: list[tuple[Tensor, ...]] = []
    real: list[tuple[Tensor, ...]] = []
    imaginary: list[tuple[Tensor, ...]] = []
    for frequency in _pairs(grid):
        mirrored = tuple(-f % grid for f in frequency)
        if mirrored < frequency:
            continue
        pixels, weights, outputs = (2 * math.pi / grid * _waves(frequency, length) for length in (grid, kernel, side))
        if mirrored == frequency:
            alone.append((pixels.cos(), weights.cos(), share * outputs.cos()))
        else:
            real.append((pixels.cos(), weights.cos(), 2 * share * outputs.cos()))
            imaginary.append((-pixels.sin(), weights.sin(), -2 * share * outputs.sin()))
    of_pixels, of_weights, of_products = (torch.stack(rows) for rows in zip(*alone, *real, *imaginary, strict=True))
    return of_pixels, of_weights, of_products


def _pairs(number: int) -> Iterator[tuple[int, int]]:
    return ((first, second) for first in range(number) for second in range(number))


def _waves(frequency: tuple[int, int], length: int) -> Float[Tensor, "H H"]:
    along = torch.arange(length, dtype=torch.float64)
    return frequency[0] * along[:, None] + frequency[1] * along
