"""Bring the official files of a data set to data/raw/<dataset>/.

    python -m pipeline.download mnist

CAPSNET_MIRROR, a folder or URL, is asked first: for the official files under <mirror>/<dataset>/, then for a copy of
the data set in the prepared format, <mirror>/<dataset>.npz. After it the official servers, in order.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from capsnet.data.catalogue import OFFICIAL, official
from capsnet.data.download import File, Unavailable, fetch
from pipeline.config import find
from pipeline.scratch import FOLDER, root
from pipeline.stage import name_argument, run_stage

MIRROR = "CAPSNET_MIRROR"
RAW = Path("data/raw")


def download(name: str, folder: Path) -> None:
    """Fetch data set `name` into `folder`. Raises ValueError naming every source and what it said."""
    dataset = official(name)
    partial = root() / FOLDER / "download" / name
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    sources = ([f"{mirror}/{name}"] if mirror else []) + list(dataset.servers())
    if mirror:
        try:
            fetch(dataset.FILES[0], sources[:1], folder, partial)
        except Unavailable as no_originals:
            try:
                copy = fetch(File(f"{name}.npz", None), [mirror], folder, partial)
            except Unavailable as no_copy:
                print(f"warning: {MIRROR}: {no_originals}; {no_copy}", file=sys.stderr)
            else:
                print(f"warning: {name}: a copy from {MIRROR}, not the original files: {copy}", file=sys.stderr)
                return
    for file in dataset.FILES:
        fetch(file, sources, folder, partial)
    # Only now: without the official files an earlier copy is better than nothing.
    (folder / f"{name}.npz").unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", f"one of {', '.join(OFFICIAL)}", argv)
    find(name, dict.fromkeys(OFFICIAL), "dataset")
    download(name, RAW / name)


if __name__ == "__main__":
    run_stage(main)
