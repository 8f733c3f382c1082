"""The one format that every data set is brought into: arrays of uint8 images and int64 labels in an .npz file.

Axes: N images, C channels, H W height and width.
"""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from capsnet.files import whole_file

SPLITS = ("train", "test")
MOST_CLASSES = 1000


class Split(NamedTuple):
    """Images and labels of one split; labels count from 0."""

    images: UInt8[np.ndarray, "N C H W"]
    labels: Int64[np.ndarray, " N"]


class Arrays(NamedTuple):
    """A whole data set; `note` says what is not exact about this copy of it, and is empty for the original."""

    train: Split
    test: Split
    note: str

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train.labels.max()) + 1


def read_arrays(path: Path) -> Arrays:
    """Read and check a data set in .npz form.

    `train_images` and `test_images` are uint8 of shape (N, H, W), (N, H, W, channels) or (N, views, H, W), with 1 to 4
    channels or views; `train_labels` and `test_labels` whole numbers from 0; `note` an optional string. Images are
    square and of one size. Raises ValueError naming the array and what is wrong with it.
    """
    train, test = read_split(path, "train"), read_split(path, "test")
    with _open(path) as file:
        try:
            note = str(file["note"]) if "note" in file else ""
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path}: note: expected a string ({error})") from error
    arrays = Arrays(train, test, note)
    check(arrays, str(path))
    return arrays


def read_split(path: Path, split: str) -> Split:
    """Read one split, without touching the other. Raises ValueError naming the array and what is wrong with it."""
    with _open(path) as file:
        for name in (f"{split}_images", f"{split}_labels"):
            if name not in file:
                raise ValueError(f"{path}: no array {name!r}; it holds {', '.join(sorted(file)) or 'nothing'}")
        try:
            images, labels = file[f"{split}_images"], file[f"{split}_labels"]
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            if "pickle" in str(error):  # numpy's word for an object array: images of mixed sizes
                raise ValueError(
                    f"{path}: {split}: an array of Python objects; expected images of one size and whole-number labels"
                ) from error
            raise ValueError(f"{path}: {split}: damaged ({error})") from error
    return Split(_channels_first(images, f"{path}: {split}_images"), _whole_numbers(labels, f"{path}: {split}_labels"))


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a data set, whole or not at all; equal arrays give equal bytes."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            train_images=arrays.train.images,
            train_labels=arrays.train.labels,
            test_images=arrays.test.images,
            test_labels=arrays.test.labels,
            note=np.array(arrays.note),
        )


def check(arrays: Arrays, where: str) -> None:
    """Raise ValueError if the splits do not fit each other, a class has no training image or a label no class."""
    for name, split in zip(SPLITS, (arrays.train, arrays.test), strict=True):
        if len(split.images) != len(split.labels):
            raise ValueError(f"{where}: {name}: got {len(split.images)} images and {len(split.labels)} labels")
        if len(split.labels) == 0:
            raise ValueError(f"{where}: {name}: got no images, expected at least one")
    if arrays.train.images.shape[1:] != arrays.test.images.shape[1:]:
        raise ValueError(
            f"{where}: mixed sizes: train images are {arrays.train.images.shape[1:]}, test images "
            f"{arrays.test.images.shape[1:]} (channels, height, width)"
        )
    counts = np.bincount(arrays.train.labels)
    if len(empty := np.flatnonzero(counts == 0)):
        raise ValueError(f"{where}: class {empty[0]} has no training image; labels count from 0 without a gap")
    if arrays.test.labels.max() >= len(counts):
        raise ValueError(
            f"{where}: test_labels: got {arrays.test.labels.max()}, expected 0 to {len(counts) - 1} as in train_labels"
        )


def _open(path: Path) -> "np.lib.npyio.NpzFile":
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path):  # np.load leaves the file of a broken archive open
            pass
        file: np.lib.npyio.NpzFile = np.load(path)
    except (zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{path}: not an .npz file, or a damaged one") from error
    return file


def _channels_first(images: np.ndarray, where: str) -> UInt8[np.ndarray, "N C H W"]:
    if images.dtype != np.uint8:
        raise ValueError(f"{where}: got {images.dtype}, expected uint8 from 0 to 255")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] <= 4 < images.shape[1]:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] > 4 or images.shape[2] != images.shape[3]:
        raise ValueError(
            f"{where}: got shape {images.shape}, expected square images (N, H, W), (N, H, W, 1 to 4) or "
            "(N, 1 to 4, H, W)"
        )
    return np.ascontiguousarray(images)


def _whole_numbers(labels: np.ndarray, where: str) -> Int64[np.ndarray, " N"]:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{where}: got {labels.dtype} of shape {labels.shape}, expected whole numbers of shape (N,)")
    for extreme in (labels.min(), labels.max()) if len(labels) else ():
        if not 0 <= extreme < MOST_CLASSES:
            raise ValueError(f"{where}: got {extreme}, expected labels from 0 to {MOST_CLASSES - 1}")
    return labels.astype(np.int64)
