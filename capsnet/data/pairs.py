"""Two overlapping images of different classes: MultiMNIST, for any data set (Sabour et al. 2017, section 6).

A pair is made on the device from two images. Each image is shifted within a larger black field, by up to as many pixels
as the field leaves around it. The two are added and clipped at white, as in the authors' code (research/capsules,
mnist_shift.py). That code shifts the lower image in the same way in all 1,000 pairs of an image; here both images are
shifted at random in each pair. Boxes of 20 pixels that are shifted by up to 4 pixels share 73 % of their area on
average. The paper says 80 %, but not for which boxes.

Axes: N images or pairs, B batch, P the two images of a pair, C channels, H side of an image, S side of the field.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from capsnet.data.augmentation import GREY_LEVELS, draw_shifts, shift


class Pairs(NamedTuple):
    """Which two images make each pair, and by how many pixels each is shifted down and right from the centre."""

    places: Int64[Tensor, "N P"]  # among the images
    shifts: Int64[Tensor, "2 N P"]


def require_classes(labels: Int64[Tensor, " N"], where: str) -> None:
    """Raise ValueError if all labels are of one class, so that no pairs can be made."""
    if bool((labels == labels[0]).all()):
        raise ValueError(f"{where}: got {len(labels)} of one class, expected at least two classes to make pairs of")


def draw_partners(labels: Int64[Tensor, " N"], generator: Generator) -> Int64[Tensor, " N"]:
    """Draw for each image the place of an image of another class, all such images equally likely.

    There must be at least two classes. This is not checked, because Python would have to wait for the device.
    """
    in_order, by_class = labels.sort(stable=True)
    own = torch.searchsorted(in_order, labels)
    after = torch.searchsorted(in_order, labels, right=True)
    others = len(labels) - (after - own)
    drawn = torch.rand(len(labels), dtype=torch.float64, generator=generator, device=labels.device)
    # Sorted by class, the images of other classes begin behind the own class and continue at the start of the list.
    return by_class[(after + (drawn * others).long()) % len(labels)]


def draw_pairs(labels: Int64[Tensor, " M"], per_image: int, max_shift: int, generator: Generator) -> Pairs:
    """Draw `per_image` pairs with each image as the first one; all images come once before any comes twice.

    The generator must be one of the CPU, so that the pairs are the same on every device. They are returned on the
    device of `labels`. Raises ValueError if there is only one class.
    """
    require_classes(labels, "images")
    number = len(labels)
    first = torch.arange(number).repeat(per_image)
    second = draw_partners(labels.cpu()[first], generator) % number
    shifts = draw_shifts(2 * len(first), max_shift, generator).unflatten(1, (-1, 2))
    return Pairs(torch.stack([first, second], 1).to(labels.device), shifts.to(labels.device))


def place_in_field(
    images: UInt8[Tensor, "B C H H"], shifts: Int64[Tensor, "2 B"], border: int
) -> UInt8[Tensor, "B C S S"]:
    """Put each image into a black field with `border` pixels on each side, and shift it by its own number of pixels."""
    return shift(torch.nn.functional.pad(images, [border] * 4), shifts)


def overlay(digits: Float[Tensor, "B P C S S"]) -> Float[Tensor, "B C S S"]:
    """Add the images of each pair, with values from 0 to 1, and clip the sum at 1."""
    return digits.sum(1).clamp(max=1)


def put_together(images: UInt8[Tensor, "M C H H"], pairs: Pairs, size: int) -> Float[Tensor, "N P C S S"]:
    """Return both images of each pair, each in its own field of `size` pixels, with values from 0 to 1."""
    border = (size - images.shape[2]) // 2
    pixels = place_in_field(images[pairs.places.flatten()], pairs.shifts.flatten(1), border) / GREY_LEVELS
    return pixels.view(-1, 2, *pixels.shape[1:])
