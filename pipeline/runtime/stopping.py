"""Ending a training between two epochs: somebody asked for it (SIGTERM), or the DVC that started it is gone.

A training that runs on without its DVC would be worthless: nobody records its models, so the next `dvc repro` deletes
them. It ends after the epoch under way, and the next `dvc repro` continues from there.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DVC_STAGE = "DVC_STAGE"  # DVC sets this variable for each command that it starts
GRACE = 8.0  # seconds for the epoch under way after SIGTERM; `docker stop` kills after 10
LOOK = 1.0  # seconds between two looks at the process that started this one
SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh")
# The processes that inherit orphans. None of them starts a stage.
INITS = ("init", "systemd", "launchd", "tini", "dumb-init", "docker-init", "catatonit")
GONE = -1  # in place of a process number: the DVC that started this process ended before it was looked for


class Stop:
    """Whether a training should end, and why."""

    def __init__(self) -> None:
        self.reason = ""
        self.orphaned = False
        self._timer: threading.Timer | None = None

    def __call__(self) -> bool:
        """Tell whether the training should end after the epoch under way."""
        return bool(self.reason)

    def handle(self, number: int, frame: object) -> None:
        """Take a SIGTERM: the first one lets the epoch end if it does so within GRACE, the second ends at once."""
        if self.reason:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.reason = "asked to stop"
        _say(f"stopping after this epoch, or in {GRACE:.0f} seconds; another SIGTERM ends the process at once")
        self._timer = threading.Timer(GRACE, os.kill, (os.getpid(), signal.SIGTERM))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Forget the time limit."""
        if self._timer is not None:
            self._timer.cancel()

    def refuse_orphan(self) -> None:
        """Raise KeyboardInterrupt if nobody would record what is about to be written. Its state is kept."""
        if self.orphaned:
            raise KeyboardInterrupt(f"{self.reason}; the next `dvc repro` continues from the last checkpoint")


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield a `Stop`, which tells whether SIGTERM arrived or the DVC that started this process is gone."""
    stop = Stop()

    def end_after_epoch(starter: int) -> None:
        stop.orphaned = True
        stop.reason = f"process {starter}, the DVC that started this training, is gone"
        _say(f"{stop.reason}: it ends after this epoch and keeps its state")

    in_main_thread = threading.current_thread() is threading.main_thread()
    earlier = signal.signal(signal.SIGTERM, stop.handle) if in_main_thread else None
    try:
        with _watched(end_after_epoch):
            yield stop
    finally:
        stop.cancel()
        if in_main_thread:
            signal.signal(signal.SIGTERM, earlier)


@contextmanager
def ends_with_dvc() -> Iterator[None]:
    """End this process during the block as soon as the DVC that started it is gone."""

    def end(starter: int) -> None:
        _say(f"process {starter}, the DVC that started this stage, is gone: the next `dvc repro` continues")
        os.kill(os.getpid(), signal.SIGTERM)

    with _watched(end):
        yield


@contextmanager
def _watched(on_orphan: Callable[[int], None]) -> Iterator[None]:
    """Call `on_orphan` in a thread if the DVC that started this process ends; it gets the number of that process."""
    if not os.environ.get(DVC_STAGE):
        yield
        return
    ended = threading.Event()
    parent = os.getppid()
    starter = _starter(parent)
    watch = threading.Thread(target=_watch, args=(parent, starter, ended, on_orphan), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def started_by() -> int:
    """Return the process that started this one for DVC, looking past the shell between them.

    It is 0 if DVC did not start this process, and GONE if that DVC has already ended.
    """
    if not os.environ.get(DVC_STAGE):
        return 0
    starter = _starter(os.getppid())
    return GONE if _inherits_orphans(starter) else starter


def still_runs(process: int) -> bool:
    """Tell whether there is such a process on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _watch(parent: int, starter: int, ended: threading.Event, on_orphan: Callable[[int], None]) -> None:
    while os.getppid() == parent and _starter(parent) == starter and not _inherits_orphans(starter):
        if ended.wait(LOOK):
            return
    on_orphan(starter)


def _starter(parent: int) -> int:
    """Return the parent of a shell, or the process itself if it is no shell."""
    if _name(parent) not in SHELLS:
        return parent
    try:
        after_name = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return int(after_name.split()[1])
    except (OSError, ValueError, IndexError):
        return parent


def _inherits_orphans(process: int) -> bool:
    """Tell whether a process is no DVC but the one that takes over the children of those that ended.

    The first process of a machine or a container is either that, under any name, or DVC itself (`docker run`).
    """
    return _name(process) in INITS or (process == 1 and not any(name in _command(1) for name in ("python", "dvc")))


def _name(process: int) -> str:
    """Return the name of a process; empty where the system does not show it in /proc."""
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _command(process: int) -> str:
    """Return the command line of a process; empty where the system does not show it in /proc."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _say(message: str) -> None:
    # A signal handler must not use sys.stderr: it may interrupt a write to it.
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{message}\n".encode())
