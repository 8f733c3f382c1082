"""Augmentation as batched tensor operations, on whatever device the images lie.

Axes: B batch, C channels, H W height and width.
"""

import torch
from jaxtyping import UInt8
from torch import Generator, Tensor
from torch.nn.functional import pad


def shift(images: UInt8[Tensor, "B C H W"], pixels: int, generator: Generator) -> UInt8[Tensor, "B C H W"]:
    """Shift each image by its own whole number of pixels, from -pixels to pixels in x and in y, filling with zeros.

    Every shift is equally likely (Sabour et al. 2017, section 5: up to 2 pixels in each direction, with zero padding).
    """
    if pixels == 0:
        return images
    batch, _, height, width = images.shape
    offsets = torch.randint(0, 2 * pixels + 1, (2, batch, 1), generator=generator, device=images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    padded = pad(images, [pixels] * 4)
    each = torch.arange(batch, device=images.device)[:, None, None]
    # Advanced indices on both sides of the channel slice put the channels last.
    return padded[each, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)
