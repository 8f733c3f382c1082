"""Undeclared working files of a stage that can be interrupted: `.scratch/<stage>/<name>/<owner>-<fingerprint>/`.

The fingerprint covers configuration, code, data and the version of torch, so that nothing stale is ever resumed. The
owner is an output of one workspace, or of one experiment of DVC: nobody else resumes or removes what it left behind.
The folder goes away when the stage succeeds, and with it what earlier configurations of the same owner left.
"""

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from capsnet.files import write_whole

FOLDER = ".scratch"
LOCK = "lock"
WORKSPACE = "workspace"


def root() -> Path:
    """Return the project's top folder; inside `dvc exp run --temp` that of the real repository, not of the copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def fingerprint(*facts: object) -> str:
    """Identify configuration, data (its MD5 among the facts), the library's code and torch by 12 hexadecimal digits."""
    import torch

    digest = hashlib.sha256(repr((*facts, f"torch {torch.__version__}")).encode())
    for path in sorted(Path("capsnet").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for a lock, and hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def owner(output: Path) -> str:
    """Identify an output of this workspace or experiment by 12 hexadecimal digits, in any store that others use too.

    It stays the same when the project's folder is moved. An experiment in a folder of its own (`dvc exp run --temp`, or
    one from DVC's queue) is known by its name, which only those keep from one try to the next who chose it (`--name`).
    """
    with held(root() / FOLDER / f"{WORKSPACE}.{LOCK}"):
        facts = (_workspace(), _experiment(), _inside(output))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def _workspace() -> str:
    """Return the identity of the project's folder: drawn once; a copy, whose original is still there, gets its own."""
    file = root() / FOLDER / WORKSPACE
    identity, _, place = _read(file).partition(" ")
    if identity and place == str(root()):
        return identity
    copied = _read(Path(place) / FOLDER / WORKSPACE).startswith(f"{identity} ")
    if not identity or copied:
        identity = uuid.uuid4().hex
    write_whole(file, os.fsencode(f"{identity} {root()}"))
    return identity


def _read(path: Path) -> str:
    return os.fsdecode(path.read_bytes()) if path.is_file() else ""


def _experiment() -> str:
    """Return the name of the experiment that runs in a folder of its own, or that folder; empty in the workspace."""
    here = Path.cwd().resolve()
    return "" if here == root() else os.environ.get("DVC_EXP_NAME") or str(here)


def _inside(output: Path) -> str:
    """Return a path as seen from the working directory, if it lies in it."""
    here, full = Path.cwd().resolve(), output.resolve()
    return str(full.relative_to(here) if full.is_relative_to(here) else full)


@contextmanager
def scratch(stage: str, name: str, output: Path, key: str, *, follow: bool = False) -> Iterator[Path]:
    """Yield the scratch folder, held by this process alone; on success remove it, and abandoned ones of this owner.

    With `follow`, it is another process of the same training that holds the folder, and will remove it.
    Raises ValueError if a process of another one holds it: killing `dvc` leaves its trainer alive.
    """
    of_owner = owner(output)
    folder = root() / FOLDER / stage / name / f"{of_owner}-{key}"
    if follow:
        yield folder
        return
    lock = _lock(folder)
    if lock is None:
        raise ValueError(f"{stage} {name} is already running in another process (lock {folder / LOCK})")
    with lock:
        yield folder
        shutil.rmtree(folder)
    for other in folder.parent.glob(f"{of_owner}-*"):
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
