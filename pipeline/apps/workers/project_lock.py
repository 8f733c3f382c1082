"""The lock by which one command at a time works on a project, and what it leaves if interrupted: `.scratch/cluster/`.

The lock is `flock`. On a shared file system it holds for all nodes if the file system does so: NFS 4 does, Lustre with
the mount option `flock`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capsnet.files import write_whole
from pipeline.runtime.locks import LOCK, holder, try_lock

FOLDER = Path(".scratch/cluster")
EARLIER = "earlier.json"


@contextmanager
def only_one(root: Path) -> Iterator[Path]:
    """Yield the folder for logs, held by this process. Raises ValueError if another process holds it."""
    folder = root / FOLDER
    held = try_lock(folder / LOCK)
    if held is None:
        raise ValueError(
            f"{root}: this command is already running here ({holder(folder / LOCK) or 'it has just begun'}); "
            "it records what is made, so there can be one at a time"
        )
    with held:
        yield folder


def earlier(folder: Path, recorded: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return what dvc.lock recorded before this command, or before the unfinished ones that it continues."""
    path = folder / EARLIER
    if not path.exists():
        write_whole(path, json.dumps(recorded))
    found: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def finish(folder: Path) -> None:
    """Forget what was recorded before, because nothing is left to continue."""
    (folder / EARLIER).unlink()
