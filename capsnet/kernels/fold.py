"""A Triton kernel that adds up overlapping windows of an image, for `capsnet.kernels.unfolded` on a GPU.

Axes: B batch, C channels, H pixels, S window pixels and O windows along a side.

Each program computes one pixel: it adds up the pixel's value in every window that covers it, window by window in
row-major order. No addition is atomic, so that the result is the same on every run. Importing this module raises
ImportError if Triton is not installed.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

CHANNELS = 256  # most channels that one program adds up


def fold(
    windows: Float[Tensor, "B O O S S C"], pixels: Float[Tensor, "B H H C"], stride: int
) -> Float[Tensor, "B H H C"]:
    """Write into `pixels` (contiguous) the sum of each pixel's values in all windows, and return `pixels`."""
    num_images, side, _, size, _, channels = windows.shape
    height = pixels.shape[1]
    block = min(CHANNELS, triton.next_power_of_2(channels))
    grid = (num_images * height**2, triton.cdiv(channels, block))
    sizes = {"size": size, "stride": stride, "block": block, "num_warps": 1}
    with torch.cuda.device_of(pixels):
        fold_kernel[grid](windows, pixels, side, height, channels, **sizes)
    return pixels


@triton.jit
@no_type_check
def fold_kernel(windows, pixels, side, height, channels, size: tl.constexpr, stride: tl.constexpr, block: tl.constexpr):
    """Add up one pixel's channels."""
    pixel = tl.program_id(0).to(tl.int64)
    b, y, x = pixel // (height * height), pixel // height % height, pixel % height
    c = tl.program_id(1) * block + tl.arange(0, block)
    total = tl.zeros((block,), dtype=tl.float32)
    # Windows o with o * stride <= y < o * stride + size.
    first_row, last_row = tl.maximum(y - size + stride, 0) // stride, tl.minimum(y // stride, side - 1)
    first_column, last_column = tl.maximum(x - size + stride, 0) // stride, tl.minimum(x // stride, side - 1)
    for row in range(first_row, last_row + 1):
        for column in range(first_column, last_column + 1):
            window = (b * side + row) * side + column
            at = (window * size + y - row * stride) * size + x - column * stride
            total += tl.load(windows + at * channels + c, mask=c < channels, other=0.0).to(tl.float32)
    tl.store(pixels + pixel * channels + c, total, mask=c < channels)
