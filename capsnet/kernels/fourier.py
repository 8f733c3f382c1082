"""Convolution with a large kernel in the Fourier domain, for the primary capsules: 94 % of the network's arithmetic.

Axes: B batch, C input channels, N output channels, H input pixels, S kernel pixels and O output pixels along a side,
F real numbers of a transform, R real products of a transformed pixel with a transformed weight.

A convolution of stride s is a sum over s x s phases (every s-th row and column of images and kernels) of convolutions
of stride 1. In the frequency domain a convolution of stride 1 is a product for each frequency, summed over the input
channels. With the transforms X = U x of the pixels and W = V w of the weights of a phase, Y[r] = X[r] W[r] is a matrix
product over the channels, and y = A Y after the sum over the phases. U, V and A are constant real matrices
(`capsnet.kernels.fourier_matrices`).

Only one of two conjugate frequencies is computed, and a complex product takes three real ones: with X = a + i b and the
conjugate W = c + i d,

    Re = a c - b d,        Im = (a + b) (c + d) - a c - b d.

For 20x20 pixels, 9x9 weights and stride 2 the definition multiplies 36 x 81 = 2916 times for each pair of channels,
here there are 4 x 148 = 592. Rounding errors are as large as those of torch's own convolution in float32, and twice as
large in bfloat16.
"""

import math
import sys
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from capsnet.kernels.fourier_matrices import num_products, phases

BLOCK = (
    256  # bytes per pixel that are transformed at a time (64 channels in float32): a smaller block needs less memory
)


def fourier_conv2d(
    inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int = 1, *, rectify: bool = False
) -> Float[Tensor, "B N O O"]:
    """Convolve square images with square kernels in the Fourier domain, even where that is slower.

    With `rectify` the ReLU of the images is convolved, without a copy of the images. The backward pass then writes the
    gradient of the images into their memory, but only if nothing else can read that memory any more: see `_is_unused`.
    Under autocast the products are in its type, and so is the result.
    """
    autocast = torch.is_autocast_enabled(inputs.device.type)
    dtype = torch.get_autocast_dtype(inputs.device.type) if autocast else inputs.dtype
    with torch.autocast(inputs.device.type, enabled=False):
        outputs: Tensor = _FourierConvolution.apply(inputs, weight, stride, dtype, rectify)
    return outputs


class _Part(NamedTuple):
    """One phase of a block of channels, which is transformed at once, and the matrices of the phase."""

    where: tuple[slice, ...]  # along the axes of images and weights
    of_pixels: Float[Tensor, "F P"]  # U
    of_weights: Float[Tensor, "F P"]  # V

    def of(self, values: Float[Tensor, "M C H H"]) -> Float[Tensor, "Y X M T"]:
        """Return a view of this part of images or weights, with T of the channels."""
        chosen: Tensor = values[self.where]
        return chosen.permute(2, 3, 0, 1)


class _FourierConvolution(torch.autograd.Function):
    """Multiply in `dtype`; between the two passes only the arguments are stored."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Float[Tensor, "B C H H"],
        weight: Float[Tensor, "N C S S"],
        stride: int,
        dtype: torch.dtype,
        rectify: bool,
    ) -> Float[Tensor, "B N O O"]:
        # A detached tensor shares the memory of the images but does not keep their own tensor alive, so that the users
        # of that memory can be counted. Hooks on saved tensors may keep what is saved, and are not counted.
        ctx.save_for_backward(weight, inputs.detach())
        ctx.may_overwrite = rectify and torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        ctx.stride, ctx.dtype, ctx.rectify = stride, dtype, rectify
        parts, of_products = _parts(inputs, weight, stride, dtype)
        buffers = _Buffers(num_products(len(of_products)), inputs, weight, dtype)
        half = dtype.itemsize < 4
        sums = torch.zeros_like(buffers.products, dtype=torch.float32) if half else buffers.products.zero_()
        for part in parts:
            pixels = _transform(part.of_pixels, part.of(inputs), buffers.pixels, rectify=rectify)
            weights = _transform(part.of_weights, part.of(weight), buffers.weights)
            if half:
                sums += torch.bmm(pixels, weights.transpose(1, 2), out=buffers.products)
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
        overwrite = ctx.may_overwrite and _is_unused(inputs)
        parts, of_products = _parts(inputs, weight, ctx.stride, ctx.dtype)
        buffers = _Buffers(num_products(len(of_products)), inputs, weight, ctx.dtype)
        grad_inputs = inputs if overwrite else torch.empty_like(inputs, memory_format=torch.channels_last)
        grad_weight = torch.empty_like(weight, memory_format=torch.channels_last)
        grad_products = _grad_products(of_products, grad_outputs.permute(2, 3, 0, 1), buffers.products)
        for part in parts:
            pixels = _transform(part.of_pixels, part.of(inputs), buffers.pixels, rectify=ctx.rectify)
            weights = buffers.weights[: math.prod(pixels.shape[::2]) * len(weight)].view(len(pixels), len(weight), -1)
            torch.bmm(grad_products.transpose(1, 2), pixels, out=weights)
            of_weight = part.of(grad_weight)
            of_weight.copy_(_gradient(part.of_weights, weights).view(of_weight.shape))
            weights = _transform(part.of_weights, part.of(weight), buffers.weights)
            torch.bmm(grad_products, weights, out=pixels)
            of_inputs = _gradient(part.of_pixels, pixels).view(part.of(inputs).shape)
            # Where the ReLU was zero there is no gradient. This line is the last to read this part of the images.
            part.of(grad_inputs).copy_(of_inputs.mul_(part.of(inputs) > 0) if ctx.rectify else of_inputs)
        return grad_inputs, grad_weight, None, None, None


def _is_unused(saved: Tensor) -> bool:
    """Return whether nothing but `saved` uses its memory, and this is the last backward pass through its graph.

    Everything that can still read the images has a share in their memory and is counted: a forward hook that kept them,
    another function that saved them, a view, a NumPy array, a leaf.
    """
    if torch._C._autograd._get_current_graph_task_keep_graph():
        return False
    return _count_users(saved) == _count_users(torch.empty(1))


def _count_users(tensor: Tensor) -> tuple[int, int]:
    """Return how many tensors share the memory of `tensor`, and how many Python references that memory has."""
    storage = tensor.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)


class _Buffers:
    """Memory for the transforms and products of a part, in one piece, used again for each part.

    One large piece goes back to the system when it is freed; many pieces of medium size would stay with the process.
    """

    def __init__(
        self, products: int, inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], dtype: torch.dtype
    ) -> None:
        batch, outputs, channels = len(inputs), len(weight), min(_block(dtype), inputs.shape[1])
        sizes = [products * batch * channels, products * outputs * channels, products * batch * outputs]
        self.pixels, self.weights, rest = torch.empty(sum(sizes), dtype=dtype).split(sizes)
        self.products = rest.view(products, batch, outputs)


def _transform(
    matrix: Float[Tensor, "F P"],
    values: Float[Tensor, "Y X M C"],
    buffer: Float[Tensor, " Z"],
    *,
    rectify: bool = False,
) -> Float[Tensor, "R M C"]:
    """Transform the values, or their ReLU: a and b of each frequency, followed by a + b of each complex one."""
    copied = values.to(buffer.dtype, memory_format=torch.contiguous_format, copy=True)
    flat = (copied.relu_() if rectify else copied).view(matrix.shape[1], math.prod(values.shape[2:]))
    out = buffer[: num_products(len(matrix)) * flat.shape[1]].view(-1, flat.shape[1])
    torch.mm(matrix.to(buffer.dtype), flat, out=out[: len(matrix)])
    real, imaginary, both = _complex(out, len(matrix))
    torch.add(real, imaginary, out=both)
    return out.view(-1, *values.shape[2:])


def _gradient(matrix: Float[Tensor, "F P"], transformed: Float[Tensor, "R M C"]) -> Float[Tensor, "P M C"]:
    """Return the gradient of the values of `_transform`, given that of its result, which is overwritten."""
    flat = transformed.flatten(1)
    real, imaginary, both = _complex(flat, len(matrix))
    real += both
    imaginary += both
    return torch.mm(matrix.t().to(flat.dtype), flat[: len(matrix)]).view(-1, *transformed.shape[1:])


def _outputs(matrix: Float[Tensor, "F OO"], products: Float[Tensor, "R B N"]) -> Float[Tensor, "OO B N"]:
    """Return y, given the products, which are overwritten."""
    flat = products.flatten(1)
    real, imaginary, both = _complex(flat, len(matrix))
    both -= real
    real -= imaginary
    torch.sub(both, imaginary, out=imaginary)
    return torch.mm(matrix.t().to(flat.dtype), flat[: len(matrix)]).view(-1, *products.shape[1:])


def _grad_products(
    matrix: Float[Tensor, "F OO"], grad_outputs: Float[Tensor, "Y X B N"], out: Float[Tensor, "R B N"]
) -> Float[Tensor, "R B N"]:
    """Return the gradient of the products of `_outputs`, given that of its result."""
    flat = out.flatten(1)
    torch.mm(matrix.to(out.dtype), grad_outputs.to(out.dtype).reshape(matrix.shape[1], -1), out=flat[: len(matrix)])
    real, imaginary, both = _complex(flat, len(matrix))
    both.copy_(imaginary)
    torch.add(real, imaginary, out=imaginary).neg_()
    real -= both
    return out


def _complex(products: Float[Tensor, "R Z"], frequencies: int) -> tuple[Float[Tensor, "Q Z"], ...]:
    """Return the rows of a, of b and of a + b of the complex frequencies; the rows of real frequencies come first."""
    number = len(products) - frequencies
    middle = frequencies - number
    return products[middle - number : middle], products[middle:frequencies], products[frequencies:]


def _parts(
    inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int, dtype: torch.dtype
) -> tuple[list[_Part], Float[Tensor, "F OO"]]:
    """Return the parts, whose convolutions add up to the whole convolution, and A transposed."""
    block = _block(dtype)
    all_phases, of_products = phases(inputs.shape[2], weight.shape[2], stride)
    parts = []
    for phase in all_phases:
        rows, columns = slice(phase.row, None, stride), slice(phase.column, None, stride)
        for first in range(0, inputs.shape[1], block):
            where = (slice(None), slice(first, first + block), rows, columns)
            parts.append(_Part(where, phase.of_pixels, phase.of_weights))
    return parts, of_products


def _block(dtype: torch.dtype) -> int:
    """Return how many channels make up a part."""
    return BLOCK // dtype.itemsize
