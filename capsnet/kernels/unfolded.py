"""Convolution as one matrix product on a GPU: for 9x9 kernels several times faster than cuDNN's deterministic one.

Axes: B batch, C input channels, N output channels, H input pixels, S kernel pixels and O output pixels along a side.

Every window of S x S x C numbers that the kernel sees becomes a row of a matrix. This matrix times the weights is the
convolution, and both gradients are matrix products of the same shape. Where windows overlap, their gradients of a pixel
are added up in a fixed order. The Triton kernel (`capsnet.kernels.fold`) adds window by window, in row-major order.
Without Triton, plain torch first adds up the windows of a column of the image, then the sums of the columns, so that
the two differ by rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

WIDEST = torch.complex128  # 16 bytes
NUMBERS = 2**27  # of windows in memory at a time: 512 MB in float32, 128 images of the paper's primary capsules


def unfolded_conv2d(
    inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int = 1
) -> Float[Tensor, "B N O O"]:
    """Convolve square images with square kernels, without padding; the result is laid out with its channels last.

    Under autocast the products are in its type, and so is the result. Products round their factors to TensorFloat-32
    if `torch.backends.cudnn.allow_tf32` allows that for convolutions.
    """
    kind = inputs.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
    with torch.autocast(kind, enabled=False):
        outputs: Tensor = _UnfoldedConvolution.apply(inputs, weight, stride, dtype)
    return outputs


class _UnfoldedConvolution(torch.autograd.Function):
    """Multiply in `dtype`; between the two passes only the arguments are stored."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], stride: int, dtype: torch.dtype
    ) -> Float[Tensor, "B N O O"]:
        ctx.save_for_backward(inputs, weight)
        ctx.stride, ctx.dtype = stride, dtype
        num_images, _, height, _ = inputs.shape
        num_outputs, _, size, _ = weight.shape
        side = (height - size) // stride + 1
        outputs = inputs.new_empty((num_images, side, side, num_outputs), dtype=dtype)
        matrix = _matrix(weight, dtype)
        with _rounding_as_convolutions_do():
            for part in _parts(inputs, weight, side):
                torch.mm(_windows(inputs[part], size, stride, dtype), matrix, out=outputs[part].flatten(0, 2))
        return outputs.permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_outputs: Float[Tensor, "B N O O"]) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        size, stride, dtype = weight.shape[2], ctx.stride, ctx.dtype
        matrix = _matrix(weight, dtype)
        grad = grad_outputs.permute(0, 2, 3, 1).to(dtype).contiguous()
        grad_inputs = torch.empty_like(inputs, memory_format=torch.channels_last) if ctx.needs_input_grad[0] else None
        grad_matrix = torch.zeros_like(matrix, dtype=weight.dtype)
        with _rounding_as_convolutions_do():
            for part in _parts(inputs, weight, grad.shape[1]):
                rows = grad[part].flatten(0, 2)
                grad_matrix += torch.mm(_windows(inputs[part], size, stride, dtype).T, rows)
                if grad_inputs is not None:
                    of_windows = torch.mm(rows, matrix.T)
                    _add_up(of_windows, grad_inputs[part].permute(0, 2, 3, 1), size, stride)
        # In the layout of the weights, as autograd stores it and as processes that train together expect it.
        grad_weight = torch.empty_like(weight)
        grad_weight.copy_(grad_matrix.view(size, size, *weight.shape[1::-1]).permute(3, 2, 0, 1))
        return grad_inputs, grad_weight, None, None


def _matrix(weight: Float[Tensor, "N C S S"], dtype: torch.dtype) -> Float[Tensor, "SSC N"]:
    return weight.to(dtype).permute(2, 3, 1, 0).flatten(0, 2)


def _parts(inputs: Float[Tensor, "B C H H"], weight: Float[Tensor, "N C S S"], side: int) -> Iterator[slice]:
    """Cut the batch into parts whose windows have at most NUMBERS numbers; a part has at least one image."""
    of_image = side**2 * weight[0].numel()
    step = max(1, NUMBERS // of_image)
    for start in range(0, len(inputs), step):
        yield slice(start, min(start + step, len(inputs)))


def _windows(images: Float[Tensor, "B C H H"], size: int, stride: int, dtype: torch.dtype) -> Float[Tensor, "BOO SSC"]:
    """Return one row for each window, with its pixels row by row, and the channels of each pixel together."""
    pixels = images.to(dtype).permute(0, 2, 3, 1).contiguous()
    # Copying 16 bytes at a time is several times faster than one number at a time; the numbers are only copied.
    together = WIDEST.itemsize // dtype.itemsize
    wide = pixels.view(WIDEST) if images.shape[1] % together == 0 else pixels
    windows = wide.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, size * size * wide.shape[3]).view(dtype)


def _add_up(of_windows: Float[Tensor, "BOO SSC"], pixels: Float[Tensor, "B H H C"], size: int, stride: int) -> None:
    """Write into `pixels` the sum of each pixel's values in all windows."""
    num_images, height, width, channels = pixels.shape
    side = (height - size) // stride + 1
    windows = of_windows.view(num_images, side, side, size, size, channels)
    if pixels.is_cuda and (fold := _fold(pixels.device)) is not None:
        fold(windows, pixels, stride)
        return
    wide = torch.promote_types(pixels.dtype, torch.float32)
    rows = windows.new_zeros((num_images, height, side, size, channels), dtype=wide)
    for offset in range(size):
        rows[:, offset : offset + stride * side : stride] += windows[:, :, :, offset]
    sums = windows.new_zeros((num_images, height, width, channels), dtype=wide)
    for offset in range(size):
        sums[:, :, offset : offset + stride * side : stride] += rows[:, :, :, offset]
    pixels.copy_(sums)


def _fold(device: torch.device) -> Callable[..., Tensor] | None:
    """Return the Triton kernel that adds up windows, or None if it cannot be launched."""
    try:
        from capsnet.kernels import fold, triton_routing
    except ImportError:
        return None
    return fold.fold if triton_routing.can_launch(device) else None


@contextmanager
def _rounding_as_convolutions_do() -> Iterator[None]:
    """Let matrix products in the block round to TensorFloat-32 exactly if convolutions may."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
