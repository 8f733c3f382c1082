"""Decoders: class capsules, all but one zeroed, back to an image with values in [0, 1].

Axes: B batch, J class capsules, D pose size, C channels, H W height and width. All decoders map (B, J * D) to
(B, C, H, W), rectify every hidden layer, with batch normalisation before that if asked, and end in a sigmoid.
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
    """Side of the grid that the linear layer fills, number of stride-1 layers, kernel of the last layer."""

    grid: int
    num_stride_one: int
    last_kernel: int


def deconv_geometry(image_size: int) -> DeConvGeometry:
    """Find the layers that end at exactly `image_size` pixels.

    One 9x9 layer of stride 2 (grid -> 2 grid + 7), n of stride 1 (+8 each), a last one of kernel 2 (+1) or, for odd
    sizes, 1 (+0): image_size = 2 grid + 7 + 8 n + (last_kernel - 1), with the grid from 3 to 6 so that it is unique.
    28 -> grid 6, one layer, kernel 2; 32 -> grid 4, two layers, kernel 2 (the reference study's decoders).

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
    """Fully connected decoder (Sabour et al. 2017, figure 2): `hidden` widths, 512 and 1024 in the paper."""
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
    """Transposed-convolution decoder of the reference study.

    The linear layer gives one channel a class capsule; the first transposed convolution makes `base` channels (32 in
    the study), and each of stride 1 doubles them, up to four times `base`.
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
    """Twice the pixels in each direction, interpolated bilinearly, as by torch's `interpolate`.

    As products with a fixed matrix from either side: of the interpolation itself a GPU knows no deterministic gradient.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        rows = functional.interpolate(torch.eye(size)[None], scale_factor=2, mode="linear", align_corners=False)
        self.matrix: Tensor
        self.register_buffer("matrix", rows[0].T.contiguous(), persistent=False)

    def forward(self, images: Float[Tensor, "B C H H"]) -> Float[Tensor, "B C S S"]:
        return self.matrix @ images @ self.matrix.T


class Centre(nn.Module):
    """The square of `size` pixels in the middle."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Float[Tensor, "B C H H"]) -> Float[Tensor, "B C S S"]:
        start = (images.shape[2] - self.size) // 2
        return images[:, :, start : start + self.size, start : start + self.size]


def upsampling_decoder(
    capsules: int, dim: int, channels: int, image_size: int, *, hidden: Sequence[int], base: int, batch_norm: bool
) -> nn.Sequential:
    """Upsampling decoder of Mazzia et al. 2021 for SmallNORB (the authors' code): doubled three times, and convolved.

    A linear layer fills a grid g; each time 2 n pixels become 2 n - 2 by a 3x3 convolution of `base` channels (64 in
    their code), twice as many from the second on; a last one leaves 8 g - 16 pixels, 48 for a grid of 8. Of other sizes
    the next larger one is made, and its centre kept.
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
