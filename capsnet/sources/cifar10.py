"""CIFAR10 (Krizhevsky 2009): 50,000 + 10,000 photographs of 32x32 pixels in colour. Terms: for research, with citation.

It is read from the official binary archive, which, unlike the Python one, holds no pickle. The archive is not unpacked
to the disk.
"""

import tarfile
from pathlib import Path

import numpy as np

from capsnet.data.arrays import Arrays, Split, check
from capsnet.sources.transfer import File, open_gzip

FILES = (File("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),)
SERVERS = ("https://www.cs.toronto.edu/~kriz",)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"{FOLDER}/data_batch_{number}.bin" for number in range(1, 6))
TEST = (f"{FOLDER}/test_batch.bin",)
SHAPE = (3, 32, 32)
ROW = 1 + 3 * 32 * 32  # the label, then the red, the green and the blue plane, each row by row


def servers() -> tuple[str, ...]:
    """Return where the official file is."""
    return SERVERS


def read(raw: Path) -> Arrays:
    """Read the official archive. Raises ValueError naming the file in it and what is wrong with it."""
    path = raw / FILES[0].name
    batches = _members(path)
    train, test = (_split([_rows(batches[name], f"{path}: {name}") for name in names]) for names in (TRAIN, TEST))
    arrays = Arrays(train, test, "", CLASS_NAMES)
    check(arrays, str(path))
    return arrays


def _members(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with open_gzip(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name in TRAIN + TEST else None
                if content is not None:
                    found[member.name] = content.read()
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not a tar archive, or a damaged one ({error})") from error
    for name in TRAIN + TEST:
        if name not in found:
            raise ValueError(f"{path}: no file {name!r}; it holds {', '.join(found) or 'none of those expected'}")
    return found


def _rows(content: bytes, where: str) -> np.ndarray:
    if not content or len(content) % ROW:
        raise ValueError(f"{where}: got {len(content)} bytes, expected a multiple of {ROW}: label, red, green, blue")
    rows = np.frombuffer(content, np.uint8).reshape(-1, ROW)
    if (highest := rows[:, 0].max()) >= len(CLASS_NAMES):
        raise ValueError(f"{where}: label: got {highest}, expected 0 to {len(CLASS_NAMES) - 1}")
    return rows


def _split(batches: list[np.ndarray]) -> Split:
    rows = np.concatenate(batches)
    return Split(np.ascontiguousarray(rows[:, 1:]).reshape(-1, *SHAPE), rows[:, 0].astype(np.int64))
