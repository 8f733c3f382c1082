"""Augmentation as batched tensor operations, on whatever device the images lie.

What is random is drawn for a whole epoch at once; applying it to a batch is a pure function, so that a step can be
recorded and replayed, and does not depend on how an epoch is cut into batches.

In this order: bytes are shifted, cropped and flipped, then brought to values from 0 to 1; those are rotated, squeezed
and scaled about the centre, a patch of them is erased, and their brightness and contrast change. That is the order of
Sabour et al.'s code for CIFAR10; it jitters SmallNORB before the crop, which moves the mean that contrast turns about.
It lets values leave 0 to 1: the standardisation that follows undoes the brightness and, for a single channel, the
contrast again. The reference study's jitter (torchvision's ColorJitter, of bytes) cuts them off; it scales the
brightness, takes the two in random order, and turns contrast about the grey mean of all channels. Mazzia et al.'s code
rotates before it shifts, and interpolates after the rotation and again after the squeeze: here what is mapped is
interpolated once.

Axes: N images of an epoch, B batch, C channels, H W height and width, S side of a crop, X the two coordinates (x, y).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Generator, Tensor
from torch.nn.functional import grid_sample

GREY_LEVELS = 255


class Change(NamedTuple):
    """One kind of augmentation: what it draws, an entry an image along the last axis, and what it does to a batch."""

    stream: str  # the name of its random numbers
    draw: Callable[..., Tensor]  # of the number of images and a generator
    apply: Callable[[Tensor, Tensor], Tensor]


class Augmentation(NamedTuple):
    """What happens to a training image on its way to the network, in order."""

    moves: tuple[Change, ...]  # of bytes
    maps: tuple[Change, ...]  # of where each pixel comes from: of linear maps about the centre
    tones: tuple[Change, ...]  # of values from 0 to 1
    clip: bool  # cut off at 0 and 1 what the tones made darker or brighter than that

    @property
    def changes(self) -> tuple[Change, ...]:
        """All of it, in the order of `drawn`."""
        return self.moves + self.maps + self.tones

    def __call__(self, images: UInt8[Tensor, "B C H W"], drawn: Sequence[Tensor]) -> Float[Tensor, "B C S S"]:
        """Augment a batch with what each change drew for it; values are from 0 to 1, or beyond unless they are cut."""
        mapped, toned = len(self.moves), len(self.moves) + len(self.maps)
        for change, values in zip(self.moves, drawn[:mapped], strict=True):
            images = change.apply(images, values)
        pixels = images / GREY_LEVELS
        if self.maps:
            sources = torch.eye(2, device=images.device).expand(len(images), 2, 2)
            for change, values in zip(self.maps, drawn[mapped:toned], strict=True):
                sources = change.apply(sources, values)
            pixels = sample(pixels, sources)
        for change, values in zip(self.tones, drawn[toned:], strict=True):
            pixels = change.apply(pixels, values)
        return pixels.clamp(0, 1) if self.tones and self.clip else pixels


def augmentation(
    size: int,
    crop: int,
    *,
    max_shift: int,
    flip: bool,
    rotation: float,
    rotation_share: float,
    squeeze: float,
    scale: float,
    erase: int,
    brightness: float,
    brightness_change: str,
    contrast: tuple[float, float],
    clip_pixels: bool,
) -> Augmentation:
    """Choose what happens to images of `size` pixels, of which a network sees `crop`.

    `rotation`, in degrees, and the shares `squeeze` of the width and `scale` of the size are the largest changes;
    `rotation_share` of the images are rotated, and `erase` is the side of what is erased, in pixels. `brightness`, in
    grey levels of 255, is the largest change of the kind `brightness_change`, a key of BRIGHTNESS_CHANGES; `contrast`
    are the lowest and the highest factor.
    """
    # The name of the shifts' stream is older than the other changes.
    moves = {
        Change("augmentation", partial(draw_shifts, pixels=max_shift), shift): max_shift > 0,
        Change("crop", partial(draw_corners, slack=size - crop), partial(cut, size=crop)): crop < size,
        Change("flip", draw_flips, flip_left_right): flip,
    }
    maps = {
        Change("rotation", partial(draw_angles, largest=rotation, share=rotation_share), turn): rotation > 0,
        Change("squeeze", partial(draw_squeezes, largest=squeeze), narrow): squeeze > 0,
        Change("scale", partial(draw_between, low=1 - scale, high=1 + scale), enlarge): scale > 0,
    }
    extent = brightness / GREY_LEVELS
    tones = {
        Change("erase", partial(draw_patches, size=crop, side=erase), partial(blacken, side=erase)): erase > 0,
        Change("brightness", partial(draw_between, low=-extent, high=extent), BRIGHTNESS_CHANGES[brightness_change]): (
            brightness > 0
        ),
        Change("contrast", partial(draw_between, low=contrast[0], high=contrast[1]), change_contrast): (
            contrast != (1, 1)
        ),
    }
    chosen_moves, chosen_maps, chosen_tones = (
        tuple(change for change, wanted in group.items() if wanted) for group in (moves, maps, tones)
    )
    return Augmentation(chosen_moves, chosen_maps, chosen_tones, clip_pixels)


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


def draw_angles(number: int, largest: float, share: float, generator: Generator) -> Float[Tensor, " N"]:
    """Draw by how many degrees each image is rotated, a `share` of them at all.

    Normal with a third of the largest angle as standard deviation, and never more than that (Mazzia et al. 2021; their
    code takes whole degrees, of half of the images).
    """
    angles = largest / 3 * torch.randn(number, generator=generator, device=generator.device)
    rotated = torch.rand(number, generator=generator, device=generator.device) < share
    return angles.clamp(-largest, largest) * rotated


def turn(sources: Float[Tensor, "B X X"], degrees: Float[Tensor, " B"]) -> Float[Tensor, "B X X"]:
    """Rotate each image counter-clockwise by its own angle."""
    angles = degrees * (math.pi / 180)
    cosine, sine = angles.cos(), angles.sin()
    turned: Tensor = sources @ torch.stack([cosine, -sine, sine, cosine], 1).unflatten(1, (2, 2))
    return turned


def draw_squeezes(number: int, largest: float, generator: Generator) -> Float[Tensor, " N"]:
    """Draw which share of its width each image loses.

    The size of a normal number with a third of the largest share as standard deviation, and never more than that
    (Mazzia et al. 2021; their code takes whole pixels, at least one, and moves some images by one to the right).
    """
    return (largest / 3 * torch.randn(number, generator=generator, device=generator.device)).abs().clamp(max=largest)


def narrow(sources: Float[Tensor, "B X X"], shares: Float[Tensor, " B"]) -> Float[Tensor, "B X X"]:
    """Take from the width of each image its own share."""
    return sources @ torch.diag_embed(torch.stack([1 / (1 - shares), torch.ones_like(shares)], 1))


def enlarge(sources: Float[Tensor, "B X X"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B X X"]:
    """Scale each image by its own factor."""
    return sources / factors[:, None, None]


def sample(pixels: Float[Tensor, "B C S S"], sources: Float[Tensor, "B X X"]) -> Float[Tensor, "B C S S"]:
    """Fetch each pixel from where its image's map takes it, about the centre, interpolated bilinearly; outside is 0."""
    side = torch.linspace(-1, 1, pixels.shape[2], device=pixels.device, dtype=pixels.dtype)
    places = torch.stack(torch.meshgrid(side, side, indexing="xy"), 2)
    grid = torch.einsum("bxz,hwz->bhwx", sources.to(pixels.dtype), places)
    sampled: Tensor = grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return sampled


def draw_patches(number: int, size: int, side: int, generator: Generator) -> Int64[Tensor, "2 N"]:
    """Draw the first row and column of a patch for each image, all equally likely where digits are.

    From `side` to size - side - 2: of 28 pixels from 4 to 22 for a patch of 4, as in the code of Mazzia et al. 2021.
    """
    return torch.randint(side, size - side - 1, (2, number), generator=generator, device=generator.device)


def blacken(pixels: Float[Tensor, "B C S S"], corners: Int64[Tensor, "2 B"], side: int) -> Float[Tensor, "B C S S"]:
    """Erase a square of `side` pixels in each image, from its own row and column on."""
    along = torch.arange(pixels.shape[2], device=pixels.device) - corners[:, :, None]
    rows, columns = (along >= 0) & (along < side)
    erased: Tensor = rows[:, None, :, None] & columns[:, None, None, :]
    return pixels * ~erased


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
