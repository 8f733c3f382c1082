"""Bring a data set into plain arrays, data/<dataset>.npz, and say what it is in data/<dataset>.json.

python -m pipeline.prepare mnist
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from capsnet.data import affnist, folder, smallnorb
from capsnet.data.arrays import Arrays, duplicates, read_arrays
from capsnet.data.catalogue import official, read_copy
from pipeline.config import find, load_params
from pipeline.data import write_prepared
from pipeline.settings.data import AffNIST, Dataset, Folder, Official, OwnArrays, SmallNORB
from pipeline.stage import name_argument, run_stage


def read_raw(name: str, entry: Dataset) -> Arrays:
    """Read a data set from where its entry says."""
    raw = Path(entry.raw)
    if not raw.exists():
        raise FileNotFoundError(f"datasets.{name}.raw: {raw}: no such file or folder")
    match entry:
        case OwnArrays():
            arrays = read_arrays(raw)
            files = {
                split: [f"{split}_images[{index}]" for index in range(len(images))]
                for split, images in (("train", arrays.train.labels), ("test", arrays.test.labels))
            }
            return without_twins(arrays, files, entry.duplicates, str(raw))
        case Folder():
            arrays, files, warnings = folder.read(raw, entry.size, entry.channels)
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)
            return without_twins(arrays, files, entry.duplicates, str(raw))
        case AffNIST():
            return affnist.make(read_official("mnist", raw), entry.seed)
        case SmallNORB():
            pairs = read_official(entry.format, raw)
            return smallnorb.mono(pairs) if entry.views == "mono" else pairs
        case Official():
            return read_official(entry.format, raw)


def read_official(name: str, raw: Path) -> Arrays:
    """Read official files, or the copy that was downloaded instead of them."""
    copy = raw / f"{name}.npz"
    if not copy.exists():
        return official(name).read(raw)
    try:
        return read_copy(name, copy)
    except ValueError as error:
        raise ValueError(f"{error}; delete it, and `dvc repro download@{name}` asks again") from error


def without_twins(arrays: Arrays, files: dict[str, list[str]], policy: str, where: str) -> Arrays:
    """Raise ValueError if a test image is a training image too; under the policy "allow" warn, and note it."""
    twins = [f"{files['test'][test]} = {files['train'][train]}" for train, test in duplicates(arrays)]
    if not twins:
        return arrays
    said = f"{where}: test images that are training images too: {folder.listing(twins, 'image')}"
    if policy == "refuse":
        raise ValueError(f"{said}; scores would be too good: remove them, or set `duplicates: allow`")
    print(f"warning: {said}", file=sys.stderr)
    note = f"{len(twins)} of {len(arrays.test.labels)} test images are training images too"
    return arrays._replace(note="; ".join(filter(None, (arrays.note, note))))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `datasets` in params.yaml", argv)
    entry = find(name, load_params().datasets, "dataset")
    arrays = read_raw(name, entry)
    if arrays.note:
        print(f"warning: {name}: {arrays.note}", file=sys.stderr)
    print(write_prepared(name, entry.raw, arrays))


if __name__ == "__main__":
    run_stage(main)
