"""Augmentation as batched tensor operations, on the device where the images lie.

Random numbers are drawn for a whole epoch at once, and applying them to a batch is a pure function. Therefore a step
can be captured as a CUDA graph, and the result does not depend on how an epoch is cut into batches.

The order is: bytes are shifted, cropped and flipped, then converted to values from 0 to 1; these are rotated, squeezed
and scaled about the centre; a patch is erased; brightness and contrast change. This is the order of Sabour et al.'s
code for CIFAR10. Differences from the published protocols:

- Sabour et al.'s code changes brightness and contrast of SmallNORB before the crop, which moves the mean that contrast
  refers to. It does not clip values to 0 and 1: the standardisation that follows undoes the brightness and, for a
  single channel, the contrast again.
- The reference study's jitter (torchvision's ColorJitter, of bytes) clips, scales the brightness, applies the two in
  random order, and takes contrast relative to the mean grey of all channels.
- Mazzia et al.'s code rotates before it shifts, and interpolates after the rotation and again after the squeeze. Here
  all linear maps are combined and interpolated once.

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
    """One kind of augmentation."""

    use: str  # names its random generator
    draw: Callable[..., Tensor]  # of a number of images and `generator`: random values, one per image on the last axis
    apply: Callable[[Tensor, Tensor], Tensor]  # of a batch and its values


class Augmentation(NamedTuple):
    """What happens to a training image on its way to the network, in order."""

    moves: tuple[Change, ...]  # of images as bytes
    maps: tuple[Change, ...]  # of linear maps about the centre, which say where each pixel comes from
    tones: tuple[Change, ...]  # of images with values from 0 to 1
    clip: bool  # to values from 0 to 1, after the tones

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes, in the order of `drawn`."""
        return self.moves + self.maps + self.tones

    def __call__(self, images: UInt8[Tensor, "B C H W"], drawn: Sequence[Tensor]) -> Float[Tensor, "B C S S"]:
        """Augment a batch with the values that each change drew for it; the result is from 0 to 1 if it is clipped."""
        values = iter(drawn)
        for change in self.moves:
            images = change.apply(images, next(values))
        pixels = images / GREY_LEVELS
        if self.maps:
            sources = torch.eye(2, device=images.device).expand(len(images), 2, 2)
            for change in self.maps:
                sources = change.apply(sources, next(values))
            pixels = sample(pixels, sources)
        for change in self.tones:
            pixels = change.apply(pixels, next(values))
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
    """Choose what happens to training images.

    Args:
        size: Side of the images, in pixels.
        crop: Side of what the network sees, in pixels.
        max_shift: Largest shift in x and in y, in pixels.
        flip: Exchange left and right in half of the images.
        rotation: Largest rotation, in degrees.
        rotation_share: Share of the images that is rotated.
        squeeze: Largest share of the width that is lost.
        scale: Largest share by which an image becomes larger or smaller.
        erase: Side of the square that is erased, in pixels.
        brightness: Largest change of brightness, in grey levels of 255.
        brightness_change: A key of BRIGHTNESS_CHANGES.
        contrast: Lowest and highest factor on the contrast.
        clip_pixels: Clip to values from 0 to 1 after changing brightness and contrast.
    """
    moves: list[Change] = []
    if max_shift > 0:
        # The name is older than the other changes; another one would draw other numbers.
        moves.append(Change("augmentation", partial(draw_shifts, pixels=max_shift), shift))
    if crop < size:
        moves.append(Change("crop", partial(draw_corners, slack=size - crop), partial(cut, size=crop)))
    if flip:
        moves.append(Change("flip", draw_flips, flip_left_right))

    maps: list[Change] = []
    if rotation > 0:
        maps.append(Change("rotation", partial(draw_angles, largest=rotation, share=rotation_share), rotate_map))
    if squeeze > 0:
        maps.append(Change("squeeze", partial(draw_squeezes, largest=squeeze), squeeze_map))
    if scale > 0:
        maps.append(Change("scale", partial(draw_between, low=1 - scale, high=1 + scale), scale_map))

    tones: list[Change] = []
    if erase > 0:
        tones.append(Change("erase", partial(draw_patches, size=crop, side=erase), partial(blacken, side=erase)))
    if brightness > 0:
        largest = brightness / GREY_LEVELS
        draw = partial(draw_between, low=-largest, high=largest)
        tones.append(Change("brightness", draw, BRIGHTNESS_CHANGES[brightness_change]))
    if contrast != (1, 1):
        draw = partial(draw_between, low=contrast[0], high=contrast[1])
        tones.append(Change("contrast", draw, change_contrast))
    return Augmentation(tuple(moves), tuple(maps), tuple(tones), clip_pixels)


def draw_shifts(number: int, pixels: int, generator: Generator) -> Int64[Tensor, "2 N"]:
    """Draw how far down and right each image is shifted: whole numbers from -pixels to pixels, all equally likely.

    Sabour et al. 2017, section 5: up to 2 pixels in each direction, with zero padding.
    """
    return torch.randint(-pixels, pixels + 1, (2, number), generator=generator, device=generator.device)


def shift(images: UInt8[Tensor, "B C H W"], shifts: Int64[Tensor, "2 B"]) -> UInt8[Tensor, "B C H W"]:
    """Shift each image down and right by its own number of pixels; the pixels that come in are zero."""
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
    """Draw the first row and column of each crop: whole numbers from 0 to `slack`, all equally likely."""
    return torch.randint(0, slack + 1, (2, number), generator=generator, device=generator.device)


def cut(images: UInt8[Tensor, "B C H W"], corners: Int64[Tensor, "2 B"], size: int) -> UInt8[Tensor, "B C S S"]:
    """Cut a square of `size` pixels out of each image, from its own first row and column on."""
    along = torch.arange(size, device=images.device)
    rows, columns = corners[0, :, None] + along, corners[1, :, None] + along
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return images[each, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def draw_flips(number: int, generator: Generator) -> Bool[Tensor, " N"]:
    """Draw whether each image is flipped, with a probability of one half."""
    return torch.rand(number, generator=generator, device=generator.device) < 0.5


def flip_left_right(images: UInt8[Tensor, "B C H W"], flips: Bool[Tensor, " B"]) -> UInt8[Tensor, "B C H W"]:
    """Exchange left and right in the images for which `flips` is true."""
    return torch.where(flips[:, None, None, None], images.flip(3), images)


def draw_angles(number: int, largest: float, share: float, generator: Generator) -> Float[Tensor, " N"]:
    """Draw by how many degrees each image is rotated; a `share` of the images is rotated at all.

    The angles are normal with a third of the largest angle as standard deviation, clipped to the largest angle (Mazzia
    et al. 2021; their code draws whole degrees and rotates half of the images).
    """
    angles = largest / 3 * torch.randn(number, generator=generator, device=generator.device)
    rotated = torch.rand(number, generator=generator, device=generator.device) < share
    return angles.clamp(-largest, largest) * rotated


def rotate_map(sources: Float[Tensor, "B X X"], degrees: Float[Tensor, " B"]) -> Float[Tensor, "B X X"]:
    """Rotate each image counter-clockwise by its own angle."""
    angles = degrees * (math.pi / 180)
    cosine, sine = angles.cos(), angles.sin()
    turned: Tensor = sources @ torch.stack([cosine, -sine, sine, cosine], 1).unflatten(1, (2, 2))
    return turned


def draw_squeezes(number: int, largest: float, generator: Generator) -> Float[Tensor, " N"]:
    """Draw which share of its width each image loses.

    The shares are absolute values of normal numbers with a third of the largest share as standard deviation, clipped to
    the largest share (Mazzia et al. 2021; their code draws whole pixels, at least one, and moves some images by one
    pixel to the right).
    """
    return (largest / 3 * torch.randn(number, generator=generator, device=generator.device)).abs().clamp(max=largest)


def squeeze_map(sources: Float[Tensor, "B X X"], shares: Float[Tensor, " B"]) -> Float[Tensor, "B X X"]:
    """Narrow each image by its own share of its width."""
    return sources @ torch.diag_embed(torch.stack([1 / (1 - shares), torch.ones_like(shares)], 1))


def scale_map(sources: Float[Tensor, "B X X"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B X X"]:
    """Scale each image by its own factor."""
    return sources / factors[:, None, None]


def sample(pixels: Float[Tensor, "B C S S"], sources: Float[Tensor, "B X X"]) -> Float[Tensor, "B C S S"]:
    """Take each pixel from where its image's map points, about the centre; bilinear interpolation, zeros outside."""
    side = torch.linspace(-1, 1, pixels.shape[2], device=pixels.device, dtype=pixels.dtype)
    places = torch.stack(torch.meshgrid(side, side, indexing="xy"), 2)
    grid = torch.einsum("bxz,hwz->bhwx", sources.to(pixels.dtype), places)
    sampled: Tensor = grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return sampled


def draw_patches(number: int, size: int, side: int, generator: Generator) -> Int64[Tensor, "2 N"]:
    """Draw the first row and column of a patch for each image: from `side` to size - side - 2, all equally likely.

    For a patch of 4 in 28 pixels that is 4 to 22, where digits are, as in the code of Mazzia et al. 2021.
    """
    return torch.randint(side, size - side - 1, (2, number), generator=generator, device=generator.device)


def blacken(pixels: Float[Tensor, "B C S S"], corners: Int64[Tensor, "2 B"], side: int) -> Float[Tensor, "B C S S"]:
    """Set a square of `side` pixels in each image to zero, from its own first row and column on."""
    along = torch.arange(pixels.shape[2], device=pixels.device) - corners[:, :, None]
    rows, columns = (along >= 0) & (along < side)
    erased: Tensor = rows[:, None, :, None] & columns[:, None, None, :]
    return pixels * ~erased


def draw_between(number: int, low: float, high: float, generator: Generator) -> Float[Tensor, " N"]:
    """Draw a number from `low` to `high` for each image, uniformly."""
    return low + (high - low) * torch.rand(number, generator=generator, device=generator.device)


def add_brightness(pixels: Float[Tensor, "B C H W"], changes: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Add its own change to each image, as TensorFlow's random_brightness does."""
    return pixels + changes[:, None, None, None]


def scale_brightness(pixels: Float[Tensor, "B C H W"], changes: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Multiply each image by 1 + its own change, as the brightness of torchvision's ColorJitter does."""
    return pixels * (1 + changes[:, None, None, None])


BRIGHTNESS_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"add": add_brightness, "scale": scale_brightness}


def change_contrast(pixels: Float[Tensor, "B C H W"], factors: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Multiply the difference of each value from the mean of its channel by the image's own factor.

    This is TensorFlow's random_contrast.
    """
    means = pixels.mean((2, 3), keepdim=True)
    return means + factors[:, None, None, None] * (pixels - means)
