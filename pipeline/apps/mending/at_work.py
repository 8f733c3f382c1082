"""Which processes of DVC are at work in a project."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
MODULES = ("dvc", "pipeline.apps.cluster")  # started with `python -m`


def processes(root: Path) -> list[int]:
    """Return the processes of DVC that work in this project, without this one.

    Where the system does not show the folder of a process, every process of DVC counts.
    """
    found = _of_proc(root) if PROC.is_dir() else _of_ps()
    return sorted(process for process in found if process != os.getpid())


@contextmanager
def kept_away(root: Path) -> Iterator[bool]:
    """Hold DVC's own lock during the block, so that no command of DVC begins. Yields False if a command holds it."""
    path = root / ".dvc" / "tmp" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _of_proc(root: Path) -> Iterator[int]:
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = os.fsdecode((folder / "cmdline").read_bytes()).split("\0")
            here = (folder / "cwd").readlink()
        except OSError:  # it has just ended, or belongs to somebody else
            continue
        if _is_dvc(arguments) and here.is_relative_to(root):
            yield int(folder.name)


def _of_ps() -> Iterator[int]:
    shown = subprocess.run(["ps", "-axo", "pid=,args="], capture_output=True, text=True, check=True)
    for line in shown.stdout.splitlines():
        process, _, arguments = line.strip().partition(" ")
        if _is_dvc(arguments.split()):
            yield int(process)


def _is_dvc(arguments: list[str]) -> bool:
    """Tell whether a command is `dvc`, its script run by a Python, or one of MODULES."""
    after = arguments.index("-m") + 1 if "-m" in arguments else len(arguments)
    is_module = after < len(arguments) and arguments[after] in MODULES
    return is_module or any(Path(argument).name == "dvc" for argument in arguments[:2])
