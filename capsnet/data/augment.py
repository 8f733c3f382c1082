"""Augmentation as batched tensor operations, on whatever device the images lie.

What is random is drawn for a whole epoch at once; applying it to a batch is a pure function, so that a step can be
recorded and replayed, and does not depend on how an epoch is cut into batches.

Axes: N images of an epoch, B batch, C channels, H W height and width.
"""

import torch
from jaxtyping import Int64, UInt8
from torch import Generator, Tensor


def draw_shifts(number: int, pixels: int, generator: Generator) -> Int64[Tensor, "2 N"]:
    """Draw how far down and right each image is shifted: whole numbers from -pixels to pixels, all equally likely.

    Sabour et al. 2017, section 5: up to 2 pixels in each direction, with zero padding.
    """
    return torch.randint(-pixels, pixels + 1, (2, number), generator=generator, device=generator.device)


def shift(images: UInt8[Tensor, "B C H W"], shifts: Int64[Tensor, "2 B"]) -> UInt8[Tensor, "B C H W"]:
    """Shift each image down and right by its own whole number of pixels, negative for up and left; zeros come in."""
    batch, _, height, width = images.shape
    rows = torch.arange(height, device=images.device) - shifts[0, :, None]
    columns = torch.arange(width, device=images.device) - shifts[1, :, None]
    each = torch.arange(batch, device=images.device)[:, None, None]
    # Advanced indices on both sides of the channel slice put the channels last.
    moved = images[each, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None, :]
    return (moved * inside[..., None]).movedim(3, 1)


def _inside(places: Int64[Tensor, "B P"], length: int) -> Tensor:
    return (places >= 0) & (places < length)
