"""Convert a data set to plain arrays, data/<dataset>.npz, and describe it in data/<dataset>.json.

python -m pipeline.prepare mnist
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from capsnet.data.arrays import Arrays, duplicates, read_arrays
from capsnet.sources import affnist, folder, smallnorb
from capsnet.sources.catalogue import official, read_copy
from pipeline.runtime.advice import recipe
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.prepared import Manifest, write_prepared
from pipeline.settings.datasets import (
    LARGEST,
    SMALLEST,
    AffNIST,
    Dataset,
    Folder,
    OfficialFiles,
    Own,
    OwnArrays,
    SmallNORB,
)
from pipeline.settings.params import find, load_params

MOST_NAMES = 10  # classes that the summary names


def read_raw(name: str, entry: Dataset) -> tuple[Arrays, list[str]]:
    """Read a data set as its entry in params.yaml says; return it, and the files of a folder that were ignored."""
    raw = Path(entry.raw)
    if not raw.exists():
        raise FileNotFoundError(f"datasets.{name}.raw: {raw}: no such file or folder")
    match entry:
        case OwnArrays():
            arrays = read_arrays(raw)
            _warn_of_size(arrays.train.images.shape[2], f"{raw}: train_images")
            files = {
                split: [f"{split}_images[{index}]" for index in range(len(images))]
                for split, images in (("train", arrays.train.labels), ("test", arrays.test.labels))
            }
            return without_duplicates(arrays, files, entry.duplicates, str(raw)), []
        case Folder():
            arrays, files, warnings, ignored = folder.read(raw, entry.size, entry.channels)
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)
            return without_duplicates(arrays, files, entry.duplicates, str(raw)), ignored
        case AffNIST():
            return affnist.make(read_official("mnist", raw), entry.seed), []
        case SmallNORB():
            pairs = read_official(entry.format, raw)
            return (smallnorb.mono(pairs) if entry.views == "mono" else pairs), []
        case OfficialFiles():
            return read_official(entry.format, raw), []


def _warn_of_size(size: int, where: str) -> None:
    """Raise ValueError if images are too small for a network; warn if only a `crop` makes them small enough."""
    if size < SMALLEST:
        raise ValueError(f"{where}: got images of {size}x{size} pixels, expected {SMALLEST} to {LARGEST} a side")
    if size > LARGEST:
        print(
            f"warning: {where}: images of {size}x{size} pixels; a network sees {SMALLEST} to {LARGEST} a side, so "
            "runs on them need `crop`",
            file=sys.stderr,
        )


def read_official(name: str, raw: Path) -> Arrays:
    """Read the official files, or the copy that was downloaded instead."""
    copy = raw / f"{name}.npz"
    if not copy.exists():
        return official(name).read(raw)
    try:
        return read_copy(name, copy)
    except ValueError as error:
        raise ValueError(f"{error}; delete it, then `dvc repro download@{name}` downloads it again") from error


def without_duplicates(arrays: Arrays, files: dict[str, list[str]], policy: str, where: str) -> Arrays:
    """Raise ValueError if a test image is a training image too; with the policy "allow", warn and add a note."""
    pairs = [f"{files['test'][test]} = {files['train'][train]}" for train, test in duplicates(arrays)]
    if not pairs:
        return arrays
    message = f"{where}: test images that are training images too: {folder.listing(pairs, 'image')}"
    if policy == "refuse":
        raise ValueError(f"{message}; scores would be too high: remove them, or set `duplicates: allow`")
    print(f"warning: {message}", file=sys.stderr)
    note = f"{len(pairs)} of {len(arrays.test.labels)} test images are training images too"
    return arrays._replace(note="; ".join(filter(None, (arrays.note, note))))


def summary(manifest: Manifest, arrays: Arrays, ignored: list[str]) -> str:
    """Return in one sentence the number, the size and the classes of the images, and what was ignored."""
    train, test = (np.bincount(split.labels, minlength=manifest.classes) for split in (arrays.train, arrays.test))
    names = ", ".join(manifest.class_names[:MOST_NAMES])
    if manifest.classes > MOST_NAMES:
        names += ", ..."
    channels = "1 channel" if manifest.channels == 1 else f"{manifest.channels} channels"
    rest = f"; ignored {folder.listing(ignored, 'file')}" if ignored else ""
    return (
        f"{manifest.dataset}: {manifest.train} training and {manifest.test} test images of {manifest.image_size}x"
        f"{manifest.image_size} pixels and {channels}, in {manifest.classes} classes ({names}) of {_range(train)} "
        f"training and {_range(test)} test images each{rest}"
    )


def _range(counts: np.ndarray) -> str:
    low, high = counts.min(), counts.max()
    return f"{low}" if low == high else f"{low} to {high}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `datasets` in params.yaml", argv)
    entry = find(name, load_params().datasets, "dataset")
    arrays, ignored = read_raw(name, entry)
    if arrays.note:
        print(f"warning: {name}: {arrays.note}", file=sys.stderr)
    manifest = write_prepared(name, entry.raw, arrays)
    print(summary(manifest, arrays, ignored))
    if isinstance(entry, Own):
        batch_size, epochs, steps = recipe(manifest.train)
        print(
            f"{name}: suggested settings of a run: batch_size: {batch_size}, epochs: {epochs}, which make {steps} steps"
        )


if __name__ == "__main__":
    run_stage(main)
