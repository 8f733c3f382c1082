"""The constant matrices of a convolution in the Fourier domain: the transforms U, V and A of `capsnet.kernels.fourier`.

Axes: H pixels, S kernel pixels and O output pixels along a side, F real numbers of a transform, P all pixels of a phase
of the images or of the kernels.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Phase(NamedTuple):
    """Every s-th row and column of images and kernels, from a first row and column on, and their transforms."""

    row: int
    column: int
    of_pixels: Float[Tensor, "F P"]  # U
    of_weights: Float[Tensor, "F P"]  # V


def num_products(frequencies: int) -> int:
    """Return the number R of real products for the F = grid^2 real numbers in the transform of a square grid.

    A pair of conjugate frequencies has two real numbers and takes three products, a real frequency takes one.
    """
    grid = math.isqrt(frequencies)
    return frequencies + (frequencies - (1 if grid % 2 else 4)) // 2


@functools.lru_cache(maxsize=16)
def phases(size: int, kernel: int, stride: int) -> tuple[list[Phase], Float[Tensor, "F OO"]]:
    """Return the phases of images of `size` and kernels of `kernel` pixels, and A transposed, all in float64."""
    grid, side = math.ceil(size / stride), (size - kernel) // stride + 1
    of_pixels, of_weights, of_products = _transforms(grid, math.ceil(kernel / stride), side)
    found = []
    for row, column in _pairs(stride):
        pixels, weights = ([len(range(start, length, stride)) for start in (row, column)] for length in (size, kernel))
        found.append(Phase(row, column, _corner(of_pixels, *pixels), _corner(of_weights, *weights)))
    return found, of_products.flatten(1)


def _corner(matrix: Float[Tensor, "F Y X"], rows: int, columns: int) -> Float[Tensor, "F P"]:
    """Drop the columns for pixels that a phase does not have: they would be zero."""
    return matrix[:, :rows, :columns].flatten(1)


def _transforms(
    grid: int, kernel: int, side: int
) -> tuple[Float[Tensor, "F H H"], Float[Tensor, "F S S"], Float[Tensor, "F O O"]]:
    """Return U, V and A transposed for the correlation of grid x grid pixels with kernel x kernel weights.

    The rows are the real frequencies, then the real parts and then the imaginary parts of the other frequencies.
    """
    share = 1 / grid**2
    real_frequencies: list[tuple[Tensor, ...]] = []
    real: list[tuple[Tensor, ...]] = []
    imaginary: list[tuple[Tensor, ...]] = []
    for frequency in _pairs(grid):
        mirrored = tuple(-f % grid for f in frequency)
        if mirrored < frequency:
            continue
        pixels, weights, outputs = (2 * math.pi / grid * _waves(frequency, length) for length in (grid, kernel, side))
        if mirrored == frequency:
            real_frequencies.append((pixels.cos(), weights.cos(), share * outputs.cos()))
        else:
            real.append((pixels.cos(), weights.cos(), 2 * share * outputs.cos()))
            imaginary.append((-pixels.sin(), weights.sin(), -2 * share * outputs.sin()))
    rows = [*real_frequencies, *real, *imaginary]
    of_pixels, of_weights, of_products = (torch.stack(matrix) for matrix in zip(*rows, strict=True))
    return of_pixels, of_weights, of_products


def _pairs(number: int) -> Iterator[tuple[int, int]]:
    return ((first, second) for first in range(number) for second in range(number))


def _waves(frequency: tuple[int, int], length: int) -> Float[Tensor, "H H"]:
    """Return frequency times place for each pixel of a square."""
    along = torch.arange(length, dtype=torch.float64)
    return frequency[0] * along[:, None] + frequency[1] * along
