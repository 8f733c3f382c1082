"""SIGTERM ends a process that trains with others, even while its main thread waits in C for one that is gone."""

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

PATIENCE = 15.0  # seconds for the main thread to end by itself; torchrun kills after 30
LOOK = 1.0  # seconds between two looks at the process that started this one


@contextmanager
def ends_on_sigterm(message: str, close: Callable[[], None], *, patience: float = PATIENCE) -> Iterator[None]:
    """Let SIGTERM end this process with one line and status 1 while the block runs.

    Python runs a signal handler between two instructions of the main thread. While that thread waits in C, as in a
    collective operation of NCCL, no handler runs. But Python's C code writes the number of the signal to a pipe at
    once, and a thread reads it there. The end of the process that started this one counts as SIGTERM too.
    After a failure of the block, SIGTERM is ignored: the process ends anyway, and has yet to say why.

    Args:
        message: What to say.
        close: Called before the process ends, if the main thread did not leave the block by itself.
        patience: The seconds in which the main thread may leave the block by itself.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    left = threading.Event()
    handler = signal.signal(signal.SIGTERM, _exit_saying(message))
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        _wait_for_the_end(reading, os.getppid())
        if not left.wait(patience):
            print(f"error: {message}", file=sys.stderr, flush=True)
            with suppress(Exception):
                close()
            os._exit(1)

    watcher = threading.Thread(target=watch, name="sigterm", daemon=True)
    watcher.start()
    try:
        yield
    except BaseException:
        handler = signal.SIG_IGN
        raise
    finally:
        left.set()
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGTERM, handler)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _wait_for_the_end(reading: int, starter: int) -> None:
    """Wait for SIGTERM, for the end of the process that started this one, or until the block was left."""
    while True:
        if not select.select([reading], [], [], LOOK)[0]:
            if os.getppid() != starter:
                os.kill(os.getpid(), signal.SIGTERM)
                return
        elif not (numbers := os.read(reading, 64)) or signal.SIGTERM in numbers:
            return


def _exit_saying(message: str) -> Callable[[int, object], NoReturn]:
    def end(number: int, frame: object) -> NoReturn:
        sys.exit(f"error: {message}")

    return end
