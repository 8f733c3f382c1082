"""The common format of all data sets: arrays of uint8 images and int64 labels in an .npz file.

Axes: N images, C channels, H W height and width.
"""

import hashlib
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from capsnet.files import whole_file

SPLITS = ("train", "test")
MOST_CLASSES = 1000
MOST_COMPRESSED = 1032  # bytes that one compressed byte can stand for


class Split(NamedTuple):
    """Images and labels of one split; labels count from 0.

    `attributes` are further whole numbers for each image, such as the azimuth of the camera. They are used for analysis
    only, except `instance`, the object in the image: images of one object are never both trained on and held out.
    """

    images: UInt8[np.ndarray, "N C H W"]
    labels: Int64[np.ndarray, " N"]
    attributes: Mapping[str, Int64[np.ndarray, " N"]] = MappingProxyType({})


class Arrays(NamedTuple):
    """A whole data set.

    `note` says how this copy differs from the original, and is empty for the original. `class_names` are in the order
    of the labels, and empty if the classes are only numbered.
    """

    train: Split
    test: Split
    note: str
    class_names: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train.labels.max()) + 1


def read_arrays(path: Path) -> Arrays:
    """Read and check a data set in an .npz file.

    The arrays in the file are:

    - `train_images` and `test_images`: uint8 of shape (N, H, W), (N, H, W, channels) or (N, views, H, W), with 1 to 4
      channels or views; square, and all of one size.
    - `train_labels` and `test_labels`: whole numbers from 0.
    - `note` (optional): a string.
    - `class_names` (optional): strings in the order of the labels.
    - any other `train_<attribute>` together with `test_<attribute>`: whole numbers.

    Raises ValueError naming the array and what is wrong with it.
    """
    train, test = read_split(path, "train"), read_split(path, "test")
    with _open(path) as file:
        name = "note"
        try:
            note = str(_array(file, "note")) if "note" in file else ""
            name = "class_names"
            names = _array(file, "class_names") if "class_names" in file else np.array([], np.str_)
        except Exception as error:  # a damaged file may raise anything, MemoryError too
            raise ValueError(f"{path}: {name}: expected text ({_in_a_line(error)})") from error
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{path}: class_names: got {names.dtype} of shape {names.shape}, expected a string per class")
    arrays = Arrays(train, test, note, tuple(names.tolist()))
    check(arrays, str(path))
    return arrays


def read_split(path: Path, split: str) -> Split:
    """Read one split only. Raises ValueError naming the array and what is wrong with it."""
    with _open(path) as file:
        for name in (f"{split}_images", f"{split}_labels"):
            if name not in file:
                raise ValueError(f"{path}: no array {name!r}; it holds {', '.join(sorted(file)) or 'nothing'}")
        try:
            held = {name: _array(file, name) for name in file if name.startswith(f"{split}_")}
        except Exception as error:
            if "Object arrays" in str(error):  # as numpy stores images of mixed sizes
                raise ValueError(
                    f"{path}: {split}: an array of Python objects; expected images of one size and whole-number labels"
                ) from error
            raise ValueError(f"{path}: {split}: damaged ({_in_a_line(error)})") from error
    images = _channels_first(held.pop(f"{split}_images"), f"{path}: {split}_images")
    labels = _labels(held.pop(f"{split}_labels"), f"{path}: {split}_labels")
    attributes = {name.removeprefix(f"{split}_"): _whole_numbers(held[name], f"{path}: {name}") for name in held}
    return Split(images, labels, attributes)


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a data set, whole or not at all. Equal arrays give equal bytes."""
    contents: dict[str, np.ndarray] = {}
    for name, split in zip(SPLITS, (arrays.train, arrays.test), strict=True):
        contents |= {f"{name}_images": split.images, f"{name}_labels": split.labels}
        contents |= {f"{name}_{attribute}": values for attribute, values in split.attributes.items()}
    contents |= {"class_names": np.array(arrays.class_names, np.str_), "note": np.array(arrays.note)}
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **contents)


def check(arrays: Arrays, where: str) -> None:
    """Raise ValueError if the two splits do not fit each other, or a class has no training image.

    There must be at least two classes.
    """
    for name, split in zip(SPLITS, (arrays.train, arrays.test), strict=True):
        if len(split.images) != len(split.labels):
            raise ValueError(f"{where}: {name}: got {len(split.images)} images and {len(split.labels)} labels")
        if len(split.labels) == 0:
            raise ValueError(f"{where}: {name}: got no images, expected at least one")
        for attribute, values in split.attributes.items():
            if len(values) != len(split.labels):
                raise ValueError(
                    f"{where}: {name}_{attribute}: got {len(values)} values for {len(split.labels)} images"
                )
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
    if alone := sorted(arrays.train.attributes.keys() ^ arrays.test.attributes.keys()):
        raise ValueError(f"{where}: got one of train_{alone[0]} and test_{alone[0]}, expected both or neither")
    if arrays.class_names and len(arrays.class_names) != len(counts):
        raise ValueError(f"{where}: class_names: got {len(arrays.class_names)}, expected {len(counts)}, one per class")
    if len(counts) < 2:
        raise ValueError(f"{where}: got images of one class, expected at least two classes to tell apart")


def duplicates(arrays: Arrays) -> list[tuple[int, int]]:
    """Return (training image, test image) for each test image that equals a training image in all pixels."""
    seen: dict[bytes, int] = {}
    for index, image in enumerate(arrays.train.images):
        seen.setdefault(hashlib.sha256(image.tobytes()).digest(), index)
    digests = (hashlib.sha256(image.tobytes()).digest() for image in arrays.test.images)
    return [(seen[digest], index) for index, digest in enumerate(digests) if digest in seen]


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _array(file: "np.lib.npyio.NpzFile", name: str) -> np.ndarray:
    """Read an array. Raises ValueError if its header claims more than there is, before memory for it is allocated."""
    assert file.zip is not None
    part = file.zip.getinfo(f"{name}.npy")
    if part.file_size > MOST_COMPRESSED * part.compress_size + 1:
        raise ValueError(f"{name}: {part.compress_size} bytes claim to be {part.file_size}")
    with file.zip.open(part) as content:
        read = np.lib.format.read_array_header_1_0
        if np.lib.format.read_magic(content) != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(content)
        header = content.tell()
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != part.file_size - header:
        raise ValueError(f"{name}: shape {shape} of {dtype} does not fit {part.file_size - header} bytes")
    values: np.ndarray = file[name]
    return values


def _open(path: Path) -> "np.lib.npyio.NpzFile":
    if path.is_dir():
        raise ValueError(f"{path}: got a folder, expected an .npz file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path):  # np.load would leave the file of a broken archive open
            pass
        file: np.lib.npyio.NpzFile = np.load(path)
    except PermissionError:
        raise
    except Exception as error:  # the parts of a damaged archive may raise anything
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


def _labels(labels: np.ndarray, where: str) -> Int64[np.ndarray, " N"]:
    whole = _whole_numbers(labels, where)
    for extreme in (whole.min(), whole.max()) if len(whole) else ():
        if not 0 <= extreme < MOST_CLASSES:
            raise ValueError(f"{where}: got {extreme}, expected labels from 0 to {MOST_CLASSES - 1}")
    return whole


def _whole_numbers(values: np.ndarray, where: str) -> Int64[np.ndarray, " N"]:
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise ValueError(f"{where}: got {values.dtype} of shape {values.shape}, expected whole numbers of shape (N,)")
    return values.astype(np.int64)
