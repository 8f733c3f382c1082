"""MNIST (LeCun, Cortes, Burges 1998): 60,000 + 10,000 handwritten digits of 28x28 pixels. Terms: CC BY-SA 3.0."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from capsnet.data.arrays import Arrays, Split, check
from capsnet.data.download import File

FILES = (
    File("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    File("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    File("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    File("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
SERVERS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "http://yann.lecun.com/exdb/mnist",
)
UNSIGNED_BYTE = 0x08  # the type byte of the IDX format


def servers() -> tuple[str, ...]:
    """Where the official files are, in the order in which they are asked."""
    return SERVERS


def read(raw: Path) -> Arrays:
    """Read the four official files. Raises ValueError naming the file and what is wrong with it."""
    train_images, train_labels, test_images, test_labels = (read_idx(raw / file.name) for file in FILES)
    for file, images in ((FILES[0], train_images), (FILES[2], test_images)):
        if images.ndim != 3 or images.shape[1:] != (28, 28):
            raise ValueError(f"{raw / file.name}: got shape {images.shape}, expected (N, 28, 28)")
    for file, labels in ((FILES[1], train_labels), (FILES[3], test_labels)):
        if labels.ndim != 1 or labels.max(initial=0) > 9:
            raise ValueError(f"{raw / file.name}: expected one label from 0 to 9 an image")
    arrays = Arrays(
        Split(train_images[:, None], train_labels.astype(np.int64)),
        Split(test_images[:, None], test_labels.astype(np.int64)),
        "",
    )
    check(arrays, str(raw))
    return arrays


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes: two zero bytes, type, number of axes, big-endian sizes, data.

    Raises ValueError for a truncated file, another magic number, or a size that is not that of the data.
    """
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: truncated or damaged gzip ({error}); delete it and download again") from error
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
