"""Prepared data sets: data/<dataset>.npz, what data/<dataset>.json says about it, and the way onto the device."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from capsnet.data.arrays import Arrays, read_split, write_arrays
from capsnet.files import md5, write_whole
from pipeline.tracking.recorder import DataSet

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DATA = Path("data")


class Manifest(NamedTuple):
    """What is worth knowing about a prepared data set.

    `note` is empty unless the data is an inexact copy; classes without a name of their own are named by their numbers.
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


class Prepared(NamedTuple):
    """One split on the device, with what else is known of its images, its manifest and how it is recorded."""

    images: "Tensor"
    labels: "Tensor"
    attributes: Mapping[str, np.ndarray]
    manifest: Manifest
    source: DataSet

    @property
    def shape(self) -> tuple[int, int, int]:
        """Image size, channels and classes: what the data decides about the architecture."""
        return self.manifest.image_size, self.manifest.channels, self.manifest.classes

    @property
    def groups(self) -> "Tensor | None":
        """Which images show the same thing, where the data set says so: the attribute `instance`."""
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
    """Read what `prepare` wrote about a data set. Raises FileNotFoundError naming the command that makes it."""
    path = DATA / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `dvc repro prepare@{name}` makes it")
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: of another version ({error}); `dvc repro prepare@{name}` makes it anew") from error
    return manifest._replace(class_names=tuple(manifest.class_names))


def read_prepared(name: str, split: str, device: "torch.device") -> Prepared:
    """Read one split, "train" or "test", onto the device; the other split is not touched."""
    import torch

    manifest = read_manifest(name)
    path = DATA / f"{name}.npz"
    arrays = read_split(path, split)
    return Prepared(
        torch.from_numpy(arrays.images).to(device),
        torch.from_numpy(arrays.labels).to(device),
        arrays.attributes,
        manifest,
        DataSet(name, md5(path), str(path), manifest.note),
    )
