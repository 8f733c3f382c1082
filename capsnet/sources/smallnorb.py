"""SmallNORB (LeCun, Huang, Bottou 2004): 24,300 + 24,300 stereo pairs of toys. Terms: for research only, no sale.

There are five kinds of toys with ten toys each, photographed from 9 elevations and 18 azimuths in 6 lightings. The test
toys are not among the training toys. The official 96x96 pixels are halved to 48x48, as in Sabour et al. 2017, section
7. The official files number the toys of each kind from 0 to 9; `instance` numbers all fifty toys: 10 kind + number.

Axes: N stereo pairs, H W height and width, h w half of them.
"""

import hashlib
import math
import struct
from collections.abc import Callable
from gzip import GzipFile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from capsnet.data.arrays import Arrays, Split, check
from capsnet.sources.transfer import File, open_gzip

_TRAIN = "smallnorb-5x46789x9x18x6x2x96x96-training"
_TEST = "smallnorb-5x01235x9x18x6x2x96x96-testing"
FILES = (
    File(f"{_TRAIN}-dat.mat.gz", "66054832f9accfe74a0f4c36a75bc0a2", 131_896_188),
    File(f"{_TRAIN}-cat.mat.gz", "23c8b86101fbf0904a000b43d3ed2fd9", 348),
    File(f"{_TRAIN}-info.mat.gz", "51dee1210a742582ff607dfd94e332e3", 71_052),
    File(f"{_TEST}-dat.mat.gz", "e4ad715691ed5a3a5f138751a4ceb071", 130_799_817),
    File(f"{_TEST}-cat.mat.gz", "5aa791cd7e6016cf957ce9bdb93b8603", 347),
    File(f"{_TEST}-info.mat.gz", "a9454f3864d7fd4bb3ea7fc3eb84924e", 10_428),
)
# MD5 of the unpacked files, which does not change if somebody compresses a file again.
UNPACKED = {
    f"{_TRAIN}-dat.mat.gz": "8138a0902307b32dfa0025a36dfa45ec",
    f"{_TRAIN}-cat.mat.gz": "fd5120d3f770ad57ebe620eb61a0b633",
    f"{_TRAIN}-info.mat.gz": "19faee774120001fc7e17980d6960451",
    f"{_TEST}-dat.mat.gz": "e9920b7f7b2869a8f1a12e945b2c166c",
    f"{_TEST}-cat.mat.gz": "fd5120d3f770ad57ebe620eb61a0b633",  # both splits list the classes in one order
    f"{_TEST}-info.mat.gz": "7c5b871cc69dcadec1bf6a18141f5edc",
}
SERVERS = ("https://cs.nyu.edu/~ylclab/data/norb-v1.0-small",)
CLASS_NAMES = ("animal", "human", "airplane", "truck", "car")
# The columns of an info file and their highest values; the azimuth is an even number of tens of degrees.
ATTRIBUTES = {"instance": 9, "elevation": 8, "azimuth": 34, "lighting": 5}
BYTES, INTEGERS = 0x1E3D4C55, 0x1E3D4C54  # magic numbers of the binary matrix format
TYPES: dict[int, np.dtype[Any]] = {BYTES: np.dtype("u1"), INTEGERS: np.dtype("<i4")}
BLOCK = 256  # rows in memory at a time: 4.7 MB of stereo pairs


def servers() -> tuple[str, ...]:
    """Return where the official files are."""
    return SERVERS


def read(raw: Path) -> Arrays:
    """Read the six official files as stereo pairs of 48x48 pixels: view 0 from the left camera, view 1 from the right.

    Raises ValueError naming the file, the field and what is wrong with it.
    """
    train, test = (_read_split(*(raw / file.name for file in files)) for files in (FILES[:3], FILES[3:]))
    arrays = Arrays(train, test, "", CLASS_NAMES)
    check(arrays, str(raw))
    return arrays


def mono(arrays: Arrays) -> Arrays:
    """Turn each stereo pair into two images, left before right: pair n becomes the images 2n and 2n + 1.

    The attribute `view` is 0 for left and 1 for right. Raises ValueError unless images have two views.
    """
    views = arrays.train.images.shape[1]
    if views != 2:
        raise ValueError(f"views: got {views}, expected 2 to make single images of them")
    return arrays._replace(train=_mono(arrays.train), test=_mono(arrays.test))


def _mono(pairs: Split) -> Split:
    attributes = {name: values.repeat(2) for name, values in pairs.attributes.items()}
    attributes["view"] = np.tile(np.arange(2), len(pairs.labels))
    return Split(pairs.images.reshape(-1, 1, *pairs.images.shape[2:]), pairs.labels.repeat(2), attributes)


def halve(images: UInt8[np.ndarray, "N 2 H W"]) -> UInt8[np.ndarray, "N 2 h w"]:
    """Halve height and width by antialiased bilinear interpolation in whole numbers, the same on every machine.

    The triangle filter of that interpolation weighs four neighbours by (1, 3, 3, 1) / 8 along each axis; at the border
    the weights of the neighbours inside the image are scaled to sum to one. Halves are rounded up.
    """
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.uint32)
    rows = padded[:, :, :-3:2] + 3 * (padded[:, :, 1:-2:2] + padded[:, :, 2:-1:2]) + padded[:, :, 3::2]
    sums = rows[..., :-3:2] + 3 * (rows[..., 1:-2:2] + rows[..., 2:-1:2]) + rows[..., 3::2]
    weights = [np.full(size // 2, 8, np.uint32) for size in images.shape[2:]]
    for weight in weights:
        weight[[0, -1]] = 7
    total = np.outer(*weights)
    halved: np.ndarray = (2 * sums + total) // (2 * total)
    return halved.astype(np.uint8)


def _read_split(dat: Path, cat: Path, info: Path) -> Split:
    images = read_matrix(dat, BYTES, (2, 96, 96), halve)
    labels = read_matrix(cat, INTEGERS, ()).astype(np.int64)
    columns = read_matrix(info, INTEGERS, (len(ATTRIBUTES),)).astype(np.int64)
    for path, rows in ((cat, labels), (info, columns)):
        if len(rows) != len(images):
            raise ValueError(f"{path}: dim[0]: got {len(rows)}, expected {len(images)} as in {dat.name}")
    _require_range(labels, len(CLASS_NAMES) - 1, f"{cat}: class")
    attributes = {name: np.ascontiguousarray(column) for name, column in zip(ATTRIBUTES, columns.T, strict=True)}
    for name, highest in ATTRIBUTES.items():
        _require_range(attributes[name], highest, f"{info}: {name}")
    attributes["instance"] += (ATTRIBUTES["instance"] + 1) * labels
    return Split(images, labels, attributes)


def _require_range(values: np.ndarray, highest: int, where: str) -> None:
    for extreme in (values.min(), values.max()):
        if not 0 <= extreme <= highest:
            raise ValueError(f"{where}: got {extreme}, expected 0 to {highest}")


def read_matrix(
    path: Path, magic: int, row: tuple[int, ...], reduce: Callable[[np.ndarray], np.ndarray] = np.array
) -> np.ndarray:
    """Read a gzipped binary matrix of any number of rows of shape `row`; `reduce` is applied to a block at a time.

    The format: magic number, number of axes, at least three sizes (those beyond the axes are 1), all as little-endian
    int32, then the data, last axis fastest. Raises ValueError naming the field that is not as expected.
    """
    digest = hashlib.md5()
    with open_gzip(path) as file:
        header, rows = _read_header(file, path, magic, row)
        digest.update(header)
        size = math.prod(row) * TYPES[magic].itemsize
        blocks = []
        for start in range(0, rows, BLOCK):
            content = file.read(min(BLOCK, rows - start) * size)
            digest.update(content)
            if len(content) < min(BLOCK, rows - start) * size:
                got = start * size + len(content)
                raise ValueError(f"{path}: data: got {got} bytes, expected {rows * size} for {rows} rows of {row}")
            blocks.append(reduce(np.frombuffer(content, TYPES[magic]).reshape(-1, *row)))
        if file.read(1):
            raise ValueError(f"{path}: data: got more than the {rows * size} bytes of {rows} rows of {row}")
    if digest.hexdigest() != UNPACKED[path.name]:
        raise ValueError(
            f"{path}: unpacked content: got md5 {digest.hexdigest()}, expected {UNPACKED[path.name]}; delete it and "
            "download again"
        )
    return np.concatenate(blocks)


def _read_header(file: GzipFile, path: Path, magic: int, row: tuple[int, ...]) -> tuple[bytes, int]:
    """Return the bytes of the header and the number of rows."""
    axes = 1 + len(row)
    sizes = max(3, axes)
    header = file.read(4 * (2 + sizes))
    if len(header) < 4 * (2 + sizes):
        raise ValueError(f"{path}: header: got {len(header)} bytes, expected {4 * (2 + sizes)}")
    got_magic, got_axes, rows, *got_row = struct.unpack(f"<{2 + sizes}i", header)
    if got_magic != magic:
        raise ValueError(f"{path}: magic: got 0x{got_magic & 0xFFFFFFFF:08x}, expected 0x{magic:08x}")
    if got_axes != axes:
        raise ValueError(f"{path}: ndim: got {got_axes}, expected {axes}")
    if rows < 1:
        raise ValueError(f"{path}: dim[0]: got {rows}, expected at least 1")
    for axis, (got, expected) in enumerate(zip(got_row, (*row, 1, 1), strict=False), 1):
        if got != expected:
            raise ValueError(f"{path}: dim[{axis}]: got {got}, expected {expected}")
    return header, rows
