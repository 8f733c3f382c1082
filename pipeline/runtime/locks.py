"""Locks between processes, held on a file for as long as it is open. The file says who holds the lock."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from pipeline.runtime.stopping import GONE, started_by, still_runs

LOCK = "lock"  # the name of the file whose lock stands for the folder that it lies in


class Holder(NamedTuple):
    """The process that holds a lock, as it described itself."""

    process: int
    host: str
    since: float  # seconds since 1970
    starter: int  # the process of DVC that started it; 0 if a person did, GONE if that DVC had ended before

    @property
    def here(self) -> bool:
        """Whether it runs on this machine."""
        return self.host == socket.gethostname()

    @property
    def orphaned(self) -> bool:
        """Whether the DVC that started it is gone, so that it ends at its next checkpoint."""
        gone = self.starter == GONE or (self.starter > 0 and not still_runs(self.starter))
        return self.here and gone

    def __str__(self) -> str:
        minutes = max(0, int(time.time() - self.since)) // 60
        age = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
        return f"process {self.process} on {self.host}, which has run for {age}"


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock, then hold it for the block."""
    with _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(path: Path) -> IO[str] | None:
    """Return the open file that holds the lock, or None if another process holds it. Makes the file and its folder."""
    return _take(path, make=True)


def try_existing(path: Path) -> IO[str] | None:
    """Return the open file that holds the lock; None if another process holds it, or if there is no such file.

    A process that only cleans up must make no file: it would bring back a folder that its holder has just removed.
    """
    with suppress(FileNotFoundError):
        return _take(path, make=False)
    return None


def _take(path: Path, *, make: bool) -> IO[str] | None:
    while True:
        file = _opened(path) if make else path.open("r+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                _describe_this_process(file)
                return file
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()  # its holder removed the folder in between: a lock on a deleted file keeps nobody away


def is_held(path: Path) -> bool:
    """Return whether another process holds the lock now. A lock that does not exist is held by nobody.

    The file stays as it is. Several processes can look at the same time.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def holder(path: Path) -> Holder | None:
    """Return the process that holds a lock; None if it did not say, or if nobody has held it so far."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(values["process"]), str(values["host"]), float(values["since"]), int(values["starter"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _describe_this_process(file: IO[str]) -> None:
    me = Holder(os.getpid(), socket.gethostname(), time.time(), started_by())
    file.truncate(0)
    file.write(json.dumps(me._asdict()))
    file.flush()


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _opened(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="utf-8")  # without emptying it: it may say who holds the lock
