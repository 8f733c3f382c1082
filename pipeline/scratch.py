"""Undeclared working files of a stage that can be interrupted: `.scratch/<stage>/<name>/<output>-<fingerprint>/`.

The fingerprint covers configuration, code and data, so that nothing stale is ever resumed; the folder goes away when
the stage succeeds, and with it what earlier configurations of the same output left.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

FOLDER = ".scratch"
LOCK = "lock"


def root() -> Path:
    """Return the project's top folder; inside `dvc exp run --temp` that of the real repository, not of the copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def fingerprint(*facts: object) -> str:
    """Identify configuration, data (its MD5 among the facts) and the library's code by 12 hexadecimal digits."""
    digest = hashlib.sha256(repr(facts).encode())
    for path in sorted(Path("capsnet").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def scratch(stage: str, name: str, output: Path, key: str, *, follow: bool = False) -> Iterator[Path]:
    """Yield the scratch folder, held by this process alone; on success remove it, and abandoned ones of this output.

    With `follow`, it is another process of the same training that holds the folder, and will remove it.
    Raises ValueError if a process of another one holds it: killing `dvc` leaves its trainer alive.
    """
    of_output = hashlib.sha256(os.path.relpath(output).encode()).hexdigest()[:6]
    folder = root() / FOLDER / stage / name / f"{of_output}-{key}"
    if follow:
        yield folder
        return
    lock = _lock(folder)
    if lock is None:
        raise ValueError(f"{stage} {name} is already running in another process (lock {folder / LOCK})")
    with lock:
        yield folder
        shutil.rmtree(folder)
    for other in folder.parent.glob(f"{of_output}-*"):
        abandoned = _lock(other)
        if abandoned is not None:
            with abandoned:
                shutil.rmtree(other)


def _lock(folder: Path) -> IO[str] | None:
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
