"""The IDX format of MNIST and Fashion-MNIST: four gzipped files of 28x28 images and their labels."""

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from capsnet.data.arrays import Arrays, Split, check
from capsnet.sources.transfer import File, open_gzip

UNSIGNED_BYTE = 0x08  # the type byte of the format


def read(raw: Path, files: Sequence[File], class_names: tuple[str, ...]) -> Arrays:
    """Read training images and labels, then test images and labels, in this order of `files`.

    Raises ValueError naming the file and what is wrong with it.
    """
    train_images, train_labels, test_images, test_labels = (read_idx(raw / file.name) for file in files)
    for file, images in ((files[0], train_images), (files[2], test_images)):
        if images.ndim != 3 or images.shape[1:] != (28, 28):
            raise ValueError(f"{raw / file.name}: got shape {images.shape}, expected (N, 28, 28)")
    last = len(class_names) - 1
    for file, labels in ((files[1], train_labels), (files[3], test_labels)):
        if labels.ndim != 1 or labels.max(initial=0) > last:
            raise ValueError(f"{raw / file.name}: expected one label from 0 to {last} an image")
    arrays = Arrays(
        Split(train_images[:, None], train_labels.astype(np.int64)),
        Split(test_images[:, None], test_labels.astype(np.int64)),
        "",
        class_names,
    )
    check(arrays, str(raw))
    return arrays


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes: two zero bytes, type, number of axes, big-endian sizes, data.

    Raises ValueError for a truncated file, another magic number, or a size that is not that of the data.
    """
    with open_gzip(path) as file:
        content = file.read()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTE or content[3] == 0:
        raise ValueError(f"{path}: got magic number 0x{content[:4].hex()}, expected 0x000008 and the number of axes")
    axes = content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise ValueError(f"{path}: got {len(content)} bytes, expected a header of {header}")
    shape = struct.unpack(f">{axes}I", content[4:header])
    if len(content) - header != math.prod(shape):
        raise ValueError(
            f"{path}: got {len(content) - header} bytes of data, expected {math.prod(shape)} for shape {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
