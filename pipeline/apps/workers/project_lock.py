"""The lock by which one command at a time works on a project, and what it leaves if interrupted: `.scratch/cluster/`.

The lock is `flock`. On a shared file system it holds for all nodes if the file system does so: NFS 4 does, Lustre with
the mount option `flock`.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capsnet.files import write_whole

FOLDER = Path(".scratch/cluster")
LOCK = "lock"
EARLIER = "earlier.json"


@contextmanager
def only_one(root: Path) -> Iterator[Path]:
    """Yield the folder for logs, held by this process. Raises ValueError if another process holds it."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{root}: this command is already running here ({file.read().strip() or 'it has just begun'}); "
                "it records what is made, so there can be one at a time"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
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
