"""The data sets with official files, each in the module of its name.

A module is imported when its data set is asked for: a stage depends on the file of the one it reads.
"""

import importlib
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from capsnet.data.arrays import Arrays, check, read_arrays
from capsnet.sources.transfer import File

OFFICIAL = ("digits", "mnist", "fashion", "cifar10", "smallnorb")


@runtime_checkable
class Official(Protocol):
    """What such a module has."""

    FILES: tuple[File, ...]
    CLASS_NAMES: tuple[str, ...]

    def servers(self) -> tuple[str, ...]:
        """Where the official files are, in the order in which they are asked."""

    def read(self, raw: Path) -> Arrays:
        """Read the official files in the folder `raw`."""


def official(name: str) -> Official:
    """Return the module of one of `OFFICIAL`."""
    return cast(Official, importlib.import_module(f"capsnet.sources.{name}"))


def read_copy(name: str, path: Path) -> Arrays:
    """Read what stands in for the official files of a data set: an .npz file in the prepared format.

    Classes without names get the official ones. Raises ValueError for anything else, and for more classes than there
    are officially.
    """
    dataset = official(name)
    arrays = read_arrays(path)
    arrays = arrays._replace(
        note=arrays.note or "copy: not the original files, no note says how it differs",
        class_names=arrays.class_names or dataset.CLASS_NAMES[: arrays.classes],
    )
    check(arrays, str(path))
    return arrays
