"""Augmentation as batched tensor operations, on whatever device the images lie.

What is random is drawn for a whole epoch at once; applying it to a batch is a pure function, so that a step can be
recorded and replayed, and does not depend on how an epoch is cut into batches.

In this order: bytes are shifted, cropped and flipped, then brought to values from 0 to 1, whose brightness and contrast
change. That is the order of the authors' code for CIFAR10; it jitters SmallNORB before the crop, which moves the mean
that contrast turns about. It lets values leave 0 to 1: the standardisation that follows undoes the brightness and, for
a single channel, the contrast again. The reference study's jitter (torchvision's ColorJitter, of bytes) cuts them off;
it scales the brightness, takes the two in random order, and turns contrast about the grey mean of all channels.

Axes: N images of an epoch, B batch, C channels, H W height and width, S side of a crop.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor

GREY_LEVELS = 255


class Change(NamedTuple):
    """One kind of augmentation: what it draws, an entry an image along the last axis, and what it does to a batch."""

    stream: str  # the name of its random numbers
    draw: Callable[..., Tensor]  # of the number of images and a generator
    apply: Callable[[Tensor, Tensor], Tensor]


class Augmentation(NamedTuple):
    """What happens to a training image on its way to the network, in order."""

    moves: tuple[Change, ...]  # of bytes
    tones: tuple[Change, ...]  # of values from 0 to 1
    clip: bool  # cut off at 0 and 1 what the tones made darker or brighter than that

    @property
    def changes(self) -> tuple[Change, ...]:
        """All of it, in the order of `drawn`."""
        return self.moves + self.tones

    def __call__(self, images: UInt8[Tensor, "B C H W"], drawn: Sequence[Tensor]) -> Float[Tensor, "B C S S"]:
        """Augment a batch with what each change drew for it; values are from 0 to 1, or beyond unless they are cut."""
        for change, values in zip(self.moves, drawn, strict=False):
            images = change.apply(images, values)
        pixels = images / GREY_LEVELS
        for change, values in zip(self.tones, drawn[len(self.moves) :], strict=True):
            pixels = change.apply(pixels, values)
        return pixels.clamp(0, 1) if self.tones and self.clip else pixels


def augmentation(
    size: int,
    crop: int,
    *,
    max_shift: int,
    flip: bool,
    brightness: float,
    brightness_change: str,
    contrast: tuple[float, float],
    clip_pixels: bool,
) -> Augmentation:
    """Choose what happens to images of `size` pixels, of which a network sees `crop`.

    `brightness`, in grey levels of 255, is the largest change of the kind `brightness_change`, a key of
    BRIGHTNESS_CHANGES; `contrast` are the lowest and the highest factor.
    """
    # The name of the shifts' stream is older than the other changes.
    moves = {
        Change("augmentation", partial(draw_shifts, pixels=max_shift), shift): max_shift > 0,
        Change("crop", partial(draw_corners, slack=size - crop), partial(cut, size=crop)): crop < size,
        Change("flip", draw_flips, flip_left_right): flip,
    }
    extent = brightness / GREY_LEVELS
    tones = {
        Change("brightness", partial(draw_between, low=-extent, high=extent), BRIGHTNESS_CHANGES[brightness_change]): (
            brightness > 0
        ),
        Change("contrast", partial(draw_between, low=contrast[0], high=contrast[1]), change_contrast): (
            contrast != (1, 1)
        ),
    }
    chosen_moves, chosen_tones = (
        tuple(change for change, wanted in group.items() if wanted) for group in (moves, tones)
    )
    return Augmentation(chosen_moves, chosen_tones, clip_pixels)


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


def draw_corners(number: int, slack: int, generator: Generator) -> Int64[Tensor, "2 N"]:
    """Draw the first row and column of each crop: whole numbers from 0 to slack, all equally likely."""
    return torch.randint(0, slack + 1, (2, number), generator=generator, device=generator.device)


def cut(images: UInt8[Tensor, "B C H W"], corners: Int64[Tensor, "2 B"], size: int) -> UInt8[Tensor, "B C S S"]:
    """Cut a square of `size` pixels out of each image, from its own row and column on."""
    along = torch.arange(size, device=images.device)
    rows, columns = corners[0, :, None] + along, corners[1, :, None] + along
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return images[each, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def draw_flips(number: int, generator: Generator) -> Bool[Tensor, " N"]:
    """Draw whether each image is flipped: as likely as not."""
    return torch.rand(number, generator=generator, device=generator.device) < 0.5


def flip_left_right(images: UInt8[Tensor, "B C H W"], flips: Bool[Tensor, " B"]) -> UInt8[Tensor, "B C H W"]:
    """Exchange left and right in the images that are to be flipped."""
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def draw_between(number: int, low: float, high: float, generator: Generator) -> Float[Tensor, " N"]:
    """Draw a number from low to high for each image, all equally likely."""
    return low + (high - low) * torch.rand(number, generator=generator, device=generator.device)


def add_brightness(pixels: Float[Tensor, "B C H W"], changes: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Add to each image its own change: TensorFlow's random_brightness."""
    return pixels + changes[:, None, None, None]


def scale_brightness(pixels: Float[Tensor, "B C H W"], changes: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Multiply each image by one more than its own change: the brightness of torchvision's ColorJitter."""
    return pixels * (1 + changes[:, None, None, None])


BRIGHTNESS_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"add": add_brightness, "scale": scale_brightness}


def change_contrast(pixels: Float[Tensor, "B C H W"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Move each image's values away from the mean of their channel, or towards it, by its own factor.

    TensorFlow's random_contrast.
    """
    means = pixels.mean((2, 3), keepdim=True)
    return means + factors[:, None, None, None] * (pixels - means)
