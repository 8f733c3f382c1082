"""Rotated images, to measure how well a network recognises images unlike those that it was trained on.

Axes: N images, C channels, H height and width.
"""

import math

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

BLOCK = 1024  # images rotated at a time; bounds the memory and does not change the result


def rotate(images: UInt8[Tensor, "N C H H"], degrees: float) -> UInt8[Tensor, "N C H H"]:
    """Rotate images counter-clockwise about their centre; pixels from outside the image are zero.

    Pixels are interpolated bilinearly and rounded. Whole turns change nothing; quarter turns move pixels without
    changing them, like `torch.rot90` over (height, width).
    """
    turn = math.radians(degrees % 360)
    # The matrix maps a pixel of the result to its source, in (x, y) with y downwards: the inverse, clockwise rotation.
    sources = torch.tensor([[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0]])
    grid = affine_grid(sources[None], [1, 1, *images.shape[2:]], align_corners=False).to(images.device)
    return torch.cat([_sample(block, grid) for block in images.split(BLOCK)])


def _sample(images: UInt8[Tensor, "B C H H"], grid: Tensor) -> UInt8[Tensor, "B C H H"]:
    moved = grid_sample(images.float(), grid.expand(len(images), -1, -1, -1), mode="bilinear", align_corners=False)
    return moved.round().clamp(0, 255).to(torch.uint8)
