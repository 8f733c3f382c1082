"""affNIST-style digits: training on MNIST shifted in a larger field, testing under small affine maps.

This is the protocol of Sabour et al. 2017, section 5.2: a network trained on shifted digits only is scored on affNIST
(Tieleman 2013), whose digits are also rotated, sheared and scaled. The maps here are drawn at random in affNIST's
ranges; the images are not those of its published files.

Axes: N images, X the two coordinates (x, y), P pixels of a digit.
"""

import math

import numpy as np
from jaxtyping import Float64, UInt8

from capsnet.data.arrays import Arrays, Split

FIELD = 40  # pixels
ROTATION = 20.0  # largest rotation in either direction, in degrees
SHEAR = 0.2  # largest shear in either direction: x moves by this share of y
SCALES = (0.8, 1.2)  # range of the scale of the width, and of the height; the two are drawn independently
BLOCK = 1000  # images warped at a time: 100 MB


def make(mnist: Arrays, seed: int) -> Arrays:
    """Make both splits from MNIST's, in the same order; the same seed gives the same images.

    Raises ValueError if a digit becomes larger than the field.
    """
    note = f"affNIST-style, made from MNIST with seed {seed}, not the published affNIST files"
    return Arrays(
        mnist.train._replace(images=place_at_random(mnist.train.images, np.random.default_rng([seed, 0]))),
        _warped(mnist.test, np.random.default_rng([seed, 1])),
        "; ".join(filter(None, (mnist.note, note))),
        mnist.class_names,
    )


def place_at_random(
    images: UInt8[np.ndarray, "N 1 H H"], generator: np.random.Generator
) -> UInt8[np.ndarray, "N 1 40 40"]:
    """Put each image into a black field, at a random whole-pixel position that keeps all of it inside."""
    count, _, size, _ = images.shape
    corners = generator.integers(0, FIELD - size + 1, (2, count, 1))
    rows, columns = corners + np.arange(size)
    fields = np.zeros((count, 1, FIELD, FIELD), np.uint8)
    fields[np.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]] = images[:, 0]
    return fields


def draw_maps(count: int, generator: np.random.Generator) -> Float64[np.ndarray, "N X X"]:
    """Draw linear maps rotation . shear . scaling, each parameter uniform in affNIST's range."""
    angle = np.deg2rad(generator.uniform(-ROTATION, ROTATION, count))
    shear = generator.uniform(-SHEAR, SHEAR, count)
    width, height = generator.uniform(*SCALES, (2, count))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([[width, shear * height], [np.zeros(count), height]])
    maps: np.ndarray = np.einsum("xyn,yzn->nxz", rotation, stretch)
    return maps


def _warped(split: Split, generator: np.random.Generator) -> Split:
    maps = draw_maps(len(split.labels), generator)
    places = generator.uniform(0, 1, (len(split.labels), 2))
    blocks = [slice(start, start + BLOCK) for start in range(0, len(split.labels), BLOCK)]
    return split._replace(images=np.concatenate([warp(split.images[b], maps[b], places[b]) for b in blocks]))


def warp(
    images: UInt8[np.ndarray, "N 1 H H"], maps: Float64[np.ndarray, "N X X"], places: Float64[np.ndarray, "N X"]
) -> UInt8[np.ndarray, "N 1 40 40"]:
    """Map each digit about its image's centre and move it to `places`, interpolating bilinearly.

    Place (0, 0) is the upper left position at which the digit's ink is still inside the field, (1, 1) the lower right
    one. Raises ValueError if a digit becomes larger than the field.
    """
    import torch
    from torch.nn.functional import grid_sample

    low, high = _room(images, maps)
    if len(outside := np.flatnonzero((low > high).any(1))):
        width, height = np.ceil(FIELD - 1 + low - high)[outside[0]].astype(int)
        raise ValueError(f"affnist: got a digit of {width}x{height} pixels after its map, expected at most {FIELD}")
    moves = low + places * (high - low)
    inverse = np.linalg.inv(maps)
    half = (images.shape[2] - 1) / 2
    # The source of each pixel of the field, relative to the image's centre in units of half an image.
    sources = np.einsum("nxz,npz->npx", inverse, _grid(FIELD)[None] - moves[:, None]) / half
    grid = torch.from_numpy(sources.reshape(-1, FIELD, FIELD, 2))
    warped = grid_sample(torch.from_numpy(images.astype(np.float64)), grid, mode="bilinear", align_corners=True)
    return warped.round().clamp(0, 255).to(torch.uint8).numpy()


def _grid(size: int) -> Float64[np.ndarray, "P X"]:
    """Return the coordinates (x, y) of an image's pixels around its centre, row by row."""
    y, x = np.mgrid[:size, :size].reshape(2, -1) - (size - 1) / 2
    return np.stack([x, y], 1)


def _room(
    images: UInt8[np.ndarray, "N 1 H H"], maps: Float64[np.ndarray, "N X X"]
) -> tuple[Float64[np.ndarray, "N X"], Float64[np.ndarray, "N X"]]:
    """Return the lowest and the highest move of each digit that keeps all of its ink inside the field."""
    ink = images.reshape(len(images), -1, 1) > 0
    mapped = np.einsum("nxz,pz->npx", maps, _grid(images.shape[2]))
    # Interpolation spreads a pixel of ink over a parallelogram: one pixel to each side, mapped.
    reach = np.abs(maps).sum(2)
    border = (FIELD - 1) / 2
    low = -border - np.where(ink, mapped, math.inf).min(1) + reach
    high = border - np.where(ink, mapped, -math.inf).max(1) - reach
    blank = ~ink.any(1)  # an image without ink is not moved
    return np.where(blank, 0, low), np.where(blank, 0, high)
