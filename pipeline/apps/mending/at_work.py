"""Which processes of DVC are at work in a project."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MODULES = ("dvc", "pipeline.apps.cluster")  # started with `python -m`


def processes(root: Path) -> list[int]:
    """Return the processes of DVC that work in this project, without this one."""
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return sorted(process.pid for process in others if _is_dvc_in(root, process))


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


def _is_dvc_in(root: Path, process: psutil.Process) -> bool:
    """Tell whether a process is DVC and its working directory is in the project; not if it belongs to another user."""
    try:
        return _is_dvc(process.cmdline()) and Path(process.cwd()).is_relative_to(root)
    except psutil.Error:  # it has just ended, or the system does not show it
        return False


def _is_dvc(arguments: list[str]) -> bool:
    """Tell whether a command is `dvc`, its script run by a Python, or one of MODULES."""
    after = arguments.index("-m") + 1 if "-m" in arguments else len(arguments)
    is_module = after < len(arguments) and arguments[after] in MODULES
    return is_module or any(Path(argument).name == "dvc" for argument in arguments[:2])
