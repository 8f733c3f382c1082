"""A user's own picture, made similar to the images that a network was trained on: from Pillow to a uint8 array.

Axes: C channels, S size of the data's images, H W height and width, P pixels, T terms of a polynomial.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from capsnet.data.cropping import MODES, middle_square

# These values recover digits best. They were tried on enlarged training images of MNIST and of scikit-learn, put on
# paper of six kinds.
LONGEST = 256  # a picture is reduced to at most this many pixels a side before its digit is searched
SAMPLED = 48  # pixels a side that the brightness of the paper is fitted to
ROUNDS = 6  # of that fit; each gives less weight to pixels that differ from the paper of the round before
FAINTEST = 24  # least difference between ink and paper, in grey levels
BLACKEST = 95  # percentile of the ink that becomes full white
EDGE = 0.2  # share of full white from which on a pixel belongs to the digit when its size is measured


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


def digit(picture: Image.Image, writing: Writing, size: int) -> UInt8[np.ndarray, "1 S S"]:
    """Find the digit in a picture and lay it out as a data set does: bright on black, with its size and place.

    A picture of `size` pixels that is mostly dark is returned unchanged. Otherwise ink is whatever differs from the
    paper, darker or brighter, whichever difference is larger. The light on the paper may be uneven. Raises ValueError
    if there is no ink.
    """
    grey = _opaque(picture, _opposite(picture)).convert("L")
    if grey.size == (size, size) and np.median(np.asarray(grey)) < 128:
        return np.array(grey)[None]
    grey.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR)
    ink = _ink(np.asarray(grey, np.float64))
    rows, columns = (np.flatnonzero((ink > EDGE).any(axis)) for axis in (1, 0))
    found = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = min(writing.box, size)
    height, width = (max(1, round(side * box / max(found.shape))) for side in found.shape)
    written = Image.fromarray((255 * found).round().astype(np.uint8))
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


def _ink(grey: Float64[np.ndarray, "H W"]) -> Float64[np.ndarray, "H W"]:
    """Return for each pixel a value from paper (0) to ink (1). Raises ValueError if there is only paper."""
    terms = _terms(*grey.shape)
    step = max(1, max(grey.shape) // SAMPLED)
    paper = _paper(terms[::step, ::step].reshape(-1, terms.shape[2]), grey[::step, ::step].ravel())
    distance = grey - terms @ paper
    if -distance.min() > distance.max():
        distance = -distance
    noise = _noise(distance)
    if distance.max() < FAINTEST + 3 * noise:
        raise ValueError("blank: got a picture without ink, expected a digit")
    blackest = np.percentile(distance[distance > max(FAINTEST / 2, 3 * noise)], BLACKEST)
    return np.asarray((distance - noise) / (blackest - noise)).clip(0, 1)


def _terms(height: int, width: int) -> Float64[np.ndarray, "H W T"]:
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 2)


def _paper(terms: Float64[np.ndarray, "P T"], grey: Float64[np.ndarray, " P"]) -> Float64[np.ndarray, " T"]:
    """Fit a surface of second degree to the paper, by least squares with Cauchy's weights for outliers."""
    distance = grey - np.median(grey)
    for _ in range(ROUNDS):
        weight = 1 / (1 + (distance / max(FAINTEST / 2, _noise(distance))) ** 2)
        surface = np.linalg.lstsq(terms * weight[:, None], grey * weight, rcond=None)[0]
        distance = grey - terms @ surface
    return np.asarray(surface)


def _noise(distance: Float64[np.ndarray, "..."]) -> float:
    """Return a standard deviation that a few large distances do not change: 1.4826 times their median."""
    return 1.4826 * float(np.median(np.abs(distance)))


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
    """Return an image with values from 0 to 1 as a picture; unless it has three colours, its first channel."""
    levels = (255 * image).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0])
