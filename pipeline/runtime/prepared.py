"""Prepared data sets: the arrays in data/<dataset>.npz, their manifest in data/<dataset>.json, a split on a device."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from capsnet.data.arrays import Arrays, read_split, write_arrays
from capsnet.files import md5, write_whole

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
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: written by another version ({error}); `dvc repro prepare@{name}` makes it again"
        ) from error
    return manifest._replace(class_names=tuple(manifest.class_names))


def read_prepared(name: str, split: str, device: "torch.device") -> Prepared:
    """Read one split, "train" or "test", onto the device. The other split is not read."""
    import torch

    manifest = read_manifest(name)
    path = DATA / f"{name}.npz"
    arrays = read_split(path, split)
    return Prepared(
        torch.from_numpy(arrays.images).to(device),
        torch.from_numpy(arrays.labels).to(device),
        arrays.attributes,
        manifest,
        DataSource(name, md5(path), str(path), manifest.note),
    )
