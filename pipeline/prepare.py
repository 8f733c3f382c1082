"""Bring a data set into plain arrays, data/<dataset>.npz, and say what it is in data/<dataset>.json.

python -m pipeline.prepare mnist
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from capsnet.data.arrays import Arrays, read_arrays
from capsnet.data.catalogue import DATASETS
from pipeline.config import Dataset, find, load_params
from pipeline.data import write_prepared
from pipeline.stage import name_argument, run_stage


def read_raw(name: str, entry: Dataset) -> Arrays:
    """Read a data set from where its entry says, or from the copy that was downloaded instead of the originals."""
    raw = Path(entry.raw)
    if not raw.exists():
        raise FileNotFoundError(f"datasets.{name}.raw: {raw}: no such file or folder")
    if entry.format == "npz":
        return read_arrays(raw)
    copy = raw / f"{name}.npz"
    if not copy.exists():
        arrays: Arrays = DATASETS[entry.format].read(raw)
        return arrays
    arrays = read_arrays(copy)
    arrays = arrays._replace(note=arrays.note or "copy: not the original files, no note says how it differs")
    print(f"warning: {name}: {arrays.note}", file=sys.stderr)
    return arrays


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `datasets` in params.yaml", argv)
    entry = find(name, load_params().datasets, "dataset")
    arrays = read_raw(name, entry)
    print(write_prepared(name, entry.raw, arrays))


if __name__ == "__main__":
    run_stage(main)
