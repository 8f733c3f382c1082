"""Bring the official files of a data set to data/raw/<dataset>/.

    python -m pipeline.download mnist

CAPSNET_MIRROR, a folder or URL, is asked first: for the official files under <mirror>/<dataset>/, then for a copy of
the data set in the prepared format, <mirror>/<dataset>.npz. After it the official servers, in order.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from capsnet.data.catalogue import DATASETS
from capsnet.data.download import File, Unavailable, fetch
from pipeline.config import find, load_params
from pipeline.scratch import FOLDER, root
from pipeline.stage import name_argument, run_stage

MIRROR = "CAPSNET_MIRROR"


def download(name: str, folder: Path) -> None:
    """Fetch data set `name` into `folder`. Raises ValueError naming every source and what it said."""
    dataset = find(name, DATASETS, "dataset")
    partial = root() / FOLDER / "download" / name
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    sources = ([f"{mirror}/{name}"] if mirror else []) + list(dataset.servers())
    if mirror:
        try:
            fetch(File(dataset.FILES[0].name, dataset.FILES[0].md5), sources[:1], folder, partial)
        except Unavailable as no_originals:
            try:
                copy = fetch(File(f"{name}.npz", None), [mirror], folder, partial)
            except Unavailable as no_copy:
                print(f"warning: {MIRROR}: {no_originals}; {no_copy}", file=sys.stderr)
            else:
                print(f"warning: {name}: a copy from {MIRROR}, not the original files: {copy}", file=sys.stderr)
                return
    (folder / f"{name}.npz").unlink(missing_ok=True)
    for file in dataset.FILES:
        fetch(file, sources, folder, partial)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", f"one of {', '.join(DATASETS)}", argv)
    entry = find(name, load_params().datasets, "dataset")
    download(name, Path(entry.raw))


if __name__ == "__main__":
    run_stage(main)
