"""Decoders: from class capsules, all but one of them zero, to an image with values in [0, 1].

Axes: B batch, J class capsules, D pose size, C channels, H W height and width. All decoders map (B, J * D) to
(B, C, H, W), rectify every hidden layer, optionally with batch normalisation before that, and end in a sigmoid.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

KERNEL = 9
SMALLEST_GRID = 3
DOUBLINGS = 3  # of the upsampling decoder
LEAK = 0.2  # of its rectifiers: TensorFlow's default


class DeConvGeometry(NamedTuple):
    """Side of the grid that the linear layer fills, number of layers of stride 1, kernel of the last layer."""

    grid: int
    num_stride_one: int
    last_kernel: int


def deconv_geometry(image_size: int) -> DeConvGeometry:
    """Find the layers whose output has exactly `image_size` pixels.

    One 9x9 layer of stride 2 makes 2 grid + 7 pixels; each of n 9x9 layers of stride 1 adds 8; the last layer has
    kernel 2 (adds 1) or, for odd sizes, kernel 1 (adds 0): image_size = 2 grid + 7 + 8 n + (last_kernel - 1). With the
    grid from 3 to 6 the solution is unique. 28 pixels: grid 6, n = 1, kernel 2; 32 pixels: grid 4, n = 2, kernel 2
    (the reference study's decoders).

    Raises ValueError for an image too small for the smallest grid.
    """
    last_kernel = 2 if image_size % 2 == 0 else 1
    half = (image_size - 6 - last_kernel) // 2
    if half < SMALLEST_GRID:
        raise ValueError(f"image_size: got {image_size}, expected at least 13 for the deconv decoder")
    num_stride_one = (half - SMALLEST_GRID) // 4
    return DeConvGeometry(half - 4 * num_stride_one, num_stride_one, last_kernel)


def fc_decoder(
    capsules: int, dim: int, channels: int, image_size: int, *, hidden: Sequence[int], base: int, batch_norm: bool
) -> nn.Sequential:
    """Return the fully connected decoder (Sabour et al. 2017, figure 2); `hidden` widths are 512 and 1024 there."""
    layers: list[nn.Module] = []
    width = capsules * dim
    for hidden_width in hidden:
        layers += [nn.Linear(width, hidden_width)]
        layers += [nn.BatchNorm1d(hidden_width)] if batch_norm else []
        layers += [nn.ReLU()]
        width = hidden_width
    layers += [nn.Linear(width, channels * image_size**2), nn.Sigmoid()]
    layers += [nn.Unflatten(1, (channels, image_size, image_size))]
    return nn.Sequential(*layers)


def deconv_decoder(
    capsules: int, dim: int, channels: int, image_size: int, *, hidden: Sequence[int], base: int, batch_norm: bool
) -> nn.Sequential:
    """Return the decoder of the reference study, made of transposed convolutions.

    The linear layer gives one channel for each class capsule; the first transposed convolution has `base` channels (32
    in the study), and each one of stride 1 doubles them, up to four times `base`.
    """
    grid, num_stride_one, last_kernel = deconv_geometry(image_size)
    layers: list[nn.Module] = [nn.Linear(capsules * dim, capsules * grid**2)]
    layers += [nn.BatchNorm1d(capsules * grid**2)] if batch_norm else []
    layers += [nn.ReLU(), nn.Unflatten(1, (capsules, grid, grid))]
    width, next_width = capsules, base
    for stride in [2] + [1] * num_stride_one:
        layers += [nn.ConvTranspose2d(width, next_width, KERNEL, stride)]
        layers += [nn.BatchNorm2d(next_width)] if batch_norm else []
        layers += [nn.ReLU()]
        width, next_width = next_width, min(2 * next_width, 4 * base)
    layers += [nn.ConvTranspose2d(width, channels, last_kernel), nn.Sigmoid()]
    return nn.Sequential(*layers)


class Doubling(nn.Module):
    """Doubles the pixels in each direction by bilinear interpolation, as torch's `interpolate` does.

    The interpolation is done by multiplying with a fixed matrix from either side, because torch's own has no
    deterministic gradient on a GPU.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        rows = functional.interpolate(torch.eye(size)[None], scale_factor=2, mode="linear", align_corners=False)
        self.matrix: Tensor
        self.register_buffer("matrix", rows[0].T.contiguous(), persistent=False)

    def forward(self, images: Float[Tensor, "B C H H"]) -> Float[Tensor, "B C S S"]:
        return self.matrix @ images @ self.matrix.T


class Centre(nn.Module):
    """Crops images to the square of `size` pixels in their middle."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Float[Tensor, "B C H H"]) -> Float[Tensor, "B C S S"]:
        start = (images.shape[2] - self.size) // 2
        return images[:, :, start : start + self.size, start : start + self.size]


def upsampling_decoder(
    capsules: int, dim: int, channels: int, image_size: int, *, hidden: Sequence[int], base: int, batch_norm: bool
) -> nn.Sequential:
    """Return the decoder of Mazzia et al. 2021 for SmallNORB, as in the authors' code: three times doubling and 3x3.

    A linear layer fills a grid of side g. Each doubling is followed by a 3x3 convolution, which turns 2 n pixels into
    2 n - 2. The first one has `base` channels (64 in their code), the other two twice as many. A last convolution
    leaves 8 g - 16 pixels: 48 for a grid of 8. Other sizes are cropped from the next larger size of this kind.
    """
    grid = -(-(image_size + 16) // 8)
    layers: list[nn.Module] = [nn.Linear(capsules * dim, grid**2), nn.Unflatten(1, (1, grid, grid))]
    width, size = 1, grid
    for doubling in range(DOUBLINGS):
        next_width = base if doubling == 0 else 2 * base
        layers += [Doubling(size), nn.Conv2d(width, next_width, 3)]
        layers += [nn.BatchNorm2d(next_width)] if batch_norm else []
        layers += [nn.LeakyReLU(LEAK)]
        width, size = next_width, 2 * size - 2
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3), nn.Sigmoid(), Centre(image_size))


DECODERS: dict[str, Callable[..., nn.Sequential] | None] = {
    "none": None,
    "fc": fc_decoder,
    "deconv": deconv_decoder,
    "upsampling": upsampling_decoder,
}
