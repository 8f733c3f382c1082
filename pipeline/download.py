"""Download the official files of a data set into data/raw/<dataset>/.

    python -m pipeline.download mnist

CAPSNET_MIRROR, a folder or a URL, is tried first: for the official files in <mirror>/<dataset>/, then for a copy of the
data set in the prepared format, <mirror>/<dataset>.npz, which is opened and checked before it is accepted. Then the
official servers are tried in order.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from capsnet.sources.catalogue import OFFICIAL, official, read_copy
from capsnet.sources.transfer import File, Unavailable, fetch
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.workspace import SCRATCH, root
from pipeline.settings.params import find

MIRROR = "CAPSNET_MIRROR"
RAW = Path("data/raw")
WAYS_OUT: dict[type[Exception], str] = {
    Unavailable: f"; if this machine is offline, set {MIRROR} to a folder or an address that has the files",
}


def download(name: str, folder: Path) -> None:
    """Fetch the data set `name` into `folder`. Incomplete files are kept for the next attempt until all are there.

    Raises ValueError naming every source and its answer.
    """
    dataset = official(name)
    parts = root() / SCRATCH / "download" / name
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    sources = ([f"{mirror}/{name}"] if mirror else []) + list(dataset.servers())
    if mirror:
        try:
            fetch(dataset.FILES[0], sources[:1], folder, parts)
        except Unavailable as no_originals:
            try:
                copy = fetch(File(f"{name}.npz", None), [mirror], folder, parts, check=partial(read_copy, name))
            except Unavailable as no_copy:
                print(f"warning: {MIRROR}: {no_originals}; {no_copy}", file=sys.stderr)
            else:
                print(f"warning: {name}: a copy from {MIRROR}, not the original files: {copy}", file=sys.stderr)
                shutil.rmtree(parts)
                return
    for file in dataset.FILES:
        fetch(file, sources, folder, parts)
    # Only now: if the official files had not come, an earlier copy would be better than nothing.
    (folder / f"{name}.npz").unlink(missing_ok=True)
    shutil.rmtree(parts, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", f"one of {', '.join(OFFICIAL)}", argv)
    find(name, dict.fromkeys(OFFICIAL), "dataset")
    download(name, RAW / name)


if __name__ == "__main__":
    run_stage(main, WAYS_OUT)
