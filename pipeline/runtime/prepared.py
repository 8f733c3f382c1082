"""Prepared data sets: the arrays in data/<dataset>.npz, their manifest in data/<dataset>.json, a split on a device."""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

import numpy as np

from capsnet.data.arrays import Arrays, Split, read_split, write_arrays
from capsnet.files import md5, write_whole
from pipeline.runtime.masking import first_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DATA = Path("data")


class Manifest(NamedTuple):
    """The facts about a prepared data set.

    `note` says how the data differs from the original, and is empty if it does not. Classes without names are named
    by their numbers.
    """

    dataset: str
    source: str
    note: str
    image_size: int
    channels: int
    classes: int
    class_names: tuple[str, ...]
    train: int
    test: int


class DataSource(NamedTuple):
    """What MLflow records as the data set of a run; `digest` is the MD5 of the file."""

    name: str
    digest: str
    path: str
    note: str


class Prepared(NamedTuple):
    """One split on the device, with the attributes of its images, its manifest, and what MLflow records of it."""

    images: "Tensor"  # (N, C, H, W), uint8
    labels: "Tensor"  # (N,), int64
    attributes: Mapping[str, np.ndarray]
    manifest: Manifest
    source: DataSource

    @property
    def shape(self) -> tuple[int, int, int]:
        """Image size, channels and classes: the settings of a network that the data decides."""
        return self.manifest.image_size, self.manifest.channels, self.manifest.classes

    @property
    def groups(self) -> "Tensor | None":
        """The attribute `instance`: images with the same number show the same object. None if the data has none."""
        import torch

        instance = self.attributes.get("instance")
        return None if instance is None else torch.from_numpy(instance).to(self.images.device)


def write_prepared(name: str, source: str, arrays: Arrays) -> Manifest:
    """Write a data set and its manifest."""
    _, channels, size, _ = arrays.train.images.shape
    manifest = Manifest(
        dataset=name,
        source=source,
        note=arrays.note,
        image_size=size,
        channels=channels,
        classes=arrays.classes,
        class_names=arrays.class_names or tuple(str(label) for label in range(arrays.classes)),
        train=len(arrays.train.labels),
        test=len(arrays.test.labels),
    )
    write_arrays(DATA / f"{name}.npz", arrays)
    text = json.dumps(manifest._asdict(), indent=2, ensure_ascii=False)
    write_whole(DATA / f"{name}.json", text + "\n")
    return manifest


def read_manifest(name: str) -> Manifest:
    """Read the manifest of a data set. Raises FileNotFoundError naming the command that makes it."""
    path = DATA / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `dvc repro prepare@{name}` makes it")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**values)
        _check(values)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: damaged, or written by another version ({first_line(error)}); `dvc repro prepare@{name}` makes "
            "it again"
        ) from error
    return manifest._replace(class_names=tuple(manifest.class_names))


def _check(values: Mapping[str, Any]) -> None:
    """Raise ValueError if a value has another type than in the manifests that `write_prepared` writes."""
    for name, kind in get_type_hints(Manifest).items():
        value = values[name]
        if kind is int and (type(value) is not int or value < 1):
            raise ValueError(f"{name}: got {reprlib.repr(value)}, expected a whole number from 1")
        if kind is str and not isinstance(value, str):
            raise ValueError(f"{name}: got {reprlib.repr(value)}, expected text")
    names = values["class_names"]
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise ValueError(f"class_names: got {reprlib.repr(names)}, expected a list of texts")
    if len(names) != values["classes"]:
        raise ValueError(f"class_names: got {len(names)}, expected {values['classes']}, one for each class")


def _check_fits(manifest: Manifest, arrays: Split, split: str, path: Path) -> None:
    """Raise ValueError if the images of a split are not those that the manifest describes."""
    number, channels, size, _ = arrays.images.shape
    described = (getattr(manifest, split), manifest.channels, manifest.image_size)
    if (number, channels, size) != described or len(arrays.labels) != number:
        got = f"{number} images of {channels} channels and {size} pixels, and {len(arrays.labels)} labels"
        raise ValueError(_of_another(manifest, path, split, got))
    if number and (highest := int(arrays.labels.max())) >= manifest.classes:
        raise ValueError(_of_another(manifest, path, split, f"label {highest}"))


def _of_another(manifest: Manifest, path: Path, split: str, got: str) -> str:
    expected = (
        f"{getattr(manifest, split)} images of {manifest.channels} channels and {manifest.image_size} pixels in "
        f"{manifest.classes} classes as in {path.with_suffix('.json').name}"
    )
    again = f"`dvc repro -f prepare@{manifest.dataset}` makes both files again"
    return f"{path}: {split}: got {got}, expected {expected}; {again}"


def read_prepared(name: str, split: str, device: "torch.device") -> Prepared:
    """Read one split, "train" or "test", onto the device. The other split is not read."""
    import torch

    manifest = read_manifest(name)
    path = DATA / f"{name}.npz"
    arrays = read_split(path, split)
    _check_fits(manifest, arrays, split, path)
    return Prepared(
        torch.from_numpy(arrays.images).to(device),
        torch.from_numpy(arrays.labels).to(device),
        arrays.attributes,
        manifest,
        DataSource(name, md5(path), str(path), manifest.note),
    )
