"""The data sets with official files, each in the module of its name.

The module of a data set is imported only when the data set is used.
"""

import importlib
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from capsnet.data.arrays import Arrays, check, read_arrays
from capsnet.sources.transfer import File

OFFICIAL = ("digits", "mnist", "fashion", "cifar10", "smallnorb")


@runtime_checkable  # the tests check types as they run
class SourceModule(Protocol):
    """What the module of a data set offers."""

    FILES: tuple[File, ...]
    CLASS_NAMES: tuple[str, ...]

    def servers(self) -> tuple[str, ...]:
        """Return where the official files are, in the order in which the servers are tried."""

    def read(self, raw: Path) -> Arrays:
        """Read the official files in the folder `raw`."""


def official(name: str) -> SourceModule:
    """Return the module of one of `OFFICIAL`."""
    return cast(SourceModule, importlib.import_module(f"capsnet.sources.{name}"))


def read_copy(name: str, path: Path) -> Arrays:
    """Read a copy of a data set that replaces its official files: an .npz file in the format of `read_arrays`.

    If the copy has no class names, it gets the official ones. Raises ValueError for any other file, and for more
    classes than the data set has.
    """
    dataset = official(name)
    arrays = read_arrays(path)
    if arrays.classes > len(dataset.CLASS_NAMES):
        raise ValueError(f"{path}: got {arrays.classes} classes, expected those of {name}: {len(dataset.CLASS_NAMES)}")
    arrays = arrays._replace(
        note=arrays.note or "copy: not the original files, no note says how it differs",
        class_names=arrays.class_names or dataset.CLASS_NAMES[: arrays.classes],
    )
    check(arrays, str(path))
    return arrays
