"""A user's own picture, made similar to the images that a network was trained on: from Pillow to a uint8 array.

Axes: C channels, S size of the data's images, H W height and width, P pixels.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from capsnet.data.cropping import MODES, middle_square
from capsnet.data.ink import Box, find_shapes
from capsnet.data.sheet import find_sheet

LONGEST = 320  # pixels of a picture's longer side in the search for digits


class Writing(NamedTuple):
    """How a data set lays out its digits."""

    box: int  # pixels of a digit's longer side
    by_mass: bool  # the middle of the image is the digit's centre of mass, not the centre of its box


# MNIST's digits have their centre of mass in pixel 14 of 28, counted from 0 (LeCun et al. 1998, section III.A, and
# measured). scikit-learn's digits fill their 8 rows, which `capsnet.sources.digits` enlarges to 24 of 28 pixels.
WRITINGS = {"mnist": Writing(20, True), "affnist": Writing(20, True), "digits": Writing(24, False)}


def scene(picture: Image.Image, size: int, channels: int) -> UInt8[np.ndarray, "C S S"]:
    """Return the middle square of a picture: in colour for 3 channels, otherwise in grey, equal in every channel."""
    square = middle_square(_opaque(picture, "black").convert(MODES.get(channels, "L")))
    pixels = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, -1)
    pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(np.broadcast_to(pixels, (channels, size, size)))


class FoundDigit(NamedTuple):
    """A digit in a picture."""

    image: UInt8[np.ndarray, "1 S S"]  # laid out as in a data set
    box: Box  # left, top, right, bottom in pixels of the picture


def digit(picture: Image.Image, writing: Writing, size: int) -> UInt8[np.ndarray, "1 S S"]:
    """Find the largest digit in a picture and lay it out as a data set does: bright on black, same size, same place.

    Raises ValueError if there is no ink. See `digits`.
    """
    found = digits(picture, writing, size)
    if not found:
        raise ValueError("blank: got a picture without ink, expected a digit")
    return max(found, key=lambda each: _area(each.box)).image


def digits(picture: Image.Image, writing: Writing, size: int) -> list[FoundDigit]:
    """Find the digits in a picture, from left to right, and lay each out as a data set does; none on a blank sheet.

    A picture of `size` pixels that is mostly dark is returned unchanged. Otherwise a digit is a shape of ink, which is
    darker than the paper around it, or brighter on a board. Shadows and the lines of the paper are left out. If the
    picture shows a sheet that lies on something else, only what is on the sheet counts.
    """
    colour = _opaque(picture, _opposite(picture)).convert("RGB")
    grey = np.asarray(colour.convert("L"))
    if colour.size == (size, size) and np.median(grey) < 128:
        return [FoundDigit(grey[None].copy(), (0, 0, size, size))] if grey.any() else []
    sheet = find_sheet(colour, LONGEST)
    on_sheet = _on_paper(sheet.picture, writing, size) if sheet else []
    if sheet is None or (not on_sheet and _margin(np.asarray(colour))):  # a thick stroke of a drawing is no sheet
        return _on_paper(colour, writing, size)
    return [found._replace(box=sheet.box_in_whole(found.box, colour.size)) for found in on_sheet]


def _on_paper(colour: Image.Image, writing: Writing, size: int) -> list[FoundDigit]:
    """Find the digits in a picture that is all paper, or all board."""
    margin = _margin(np.asarray(colour))
    framed = ImageOps.expand(colour, margin, _border(np.asarray(colour)))
    width, height = (max(1, round(side * LONGEST / max(framed.size))) for side in framed.size)
    searched = framed.resize((width, height), Image.Resampling.BILINEAR)
    shapes = find_shapes(np.asarray(searched, np.float64))
    return [
        FoundDigit(_laid_out(shape.ink, writing, size), _box_in_picture(colour, shape.box, searched, margin))
        for shape in shapes
    ]


def _border(pixels: UInt8[np.ndarray, "H W C"]) -> tuple[int, ...]:
    """Return the median colour of the outermost pixels."""
    return tuple(np.median(_outermost(pixels), 0).round().astype(int).tolist())


def _outermost(pixels: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "P C"]:
    return np.concatenate([pixels[[0, -1]].reshape(-1, pixels.shape[2]), pixels[:, [0, -1]].reshape(-1, 3)])


def _margin(pixels: UInt8[np.ndarray, "H W C"]) -> int:
    """Return how many pixels of paper to add around a picture: none around a photograph, whose border has noise.

    In a picture without noise a digit may fill the whole height; without the margin there is no paper above it.
    """
    away = np.abs(_outermost(pixels).astype(int) - _border(pixels)).max(1)
    return max(pixels.shape) // 4 if (away == 0).mean() > 0.5 else 0


def _box_in_picture(picture: Image.Image, box: Box, searched: Image.Image, margin: int) -> Box:
    """Convert a box from pixels of the searched picture to pixels of the user's picture, which has no margin."""
    by = [(whole + 2 * margin) / part for whole, part in zip(picture.size, searched.size, strict=True)]
    ends = [round(side * factor) - margin for side, factor in zip(box, by * 2, strict=True)]
    left, top, right, bottom = (min(max(end, 0), side) for end, side in zip(ends, picture.size * 2, strict=True))
    return left, top, right, bottom


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _laid_out(ink: Float[np.ndarray, "H W"], writing: Writing, size: int) -> UInt8[np.ndarray, "1 S S"]:
    box = min(writing.box, size)
    height, width = (max(1, round(side * box / max(ink.shape))) for side in ink.shape)
    written = Image.fromarray((255 * ink).round().astype(np.uint8))
    return _placed(np.asarray(written.resize((width, height), Image.Resampling.BILINEAR)), writing.by_mass, size)[None]


def _opaque(picture: Image.Image, background: str) -> Image.Image:
    """Return a picture with 8 bits a channel, on `background` where it is transparent."""
    if picture.mode.startswith("F"):
        raise ValueError("got fractions for pixels, expected whole numbers")
    if picture.mode.startswith("I"):  # 16 bits
        return Image.fromarray((np.asarray(picture, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", picture.size, background), picture.convert("RGBA"))
    return picture


def _opposite(picture: Image.Image) -> str:
    """Return the background, black or white, against which the opaque pixels are visible."""
    if not picture.has_transparency_data:
        return "black"
    full = picture.convert("RGBA")
    levels, alpha = (np.asarray(band, np.float64) for band in (full.convert("L"), full.getchannel("A")))
    return "white" if (levels * alpha).sum() < 128 * alpha.sum() else "black"


def _placed(written: UInt8[np.ndarray, "H W"], by_mass: bool, size: int) -> UInt8[np.ndarray, "S S"]:
    page = np.zeros((size, size), np.uint8)
    corner = []
    for axis, length in enumerate(written.shape):
        line = written.sum(1 - axis, dtype=np.float64)
        centre = np.average(np.arange(length), weights=line) if by_mass else length / 2
        corner.append(min(max(round(size / 2 - centre), 0), size - length))
    top, left = corner
    page[top : top + written.shape[0], left : left + written.shape[1]] = written
    return page


def shown(image: Float[np.ndarray, "C H W"]) -> Image.Image:
    """Return an image with values from 0 to 1 as a picture: three channels in colour, otherwise the first in grey."""
    levels = (255 * image).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0])
