"""Run shell commands as one process group that ends with the process that started it.

    python group.py SHELL COMMAND...

The starting process holds the other end of standard input. If it writes a byte, the commands are interrupted as by
Ctrl-C, and have GRACE seconds to end. If it ends without a word, they are killed at once: another worker may begin
the same stage now. This file needs the standard library only, so it starts at once.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 15.0  # seconds
INTERRUPT = b"i"


def _watch(interrupted: threading.Event) -> None:
    if os.read(0, 1) == INTERRUPT:
        interrupted.set()
        os.killpg(0, signal.SIGINT)
        time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def main(shell: str, *commands: str) -> int:
    """Run the commands one after another, until one fails. Return its exit status, as a shell writes it."""
    interrupted = threading.Event()
    # A handler, not SIG_IGN: commands would inherit that. They start with the default action.
    signal.signal(signal.SIGINT, lambda *_: None)
    threading.Thread(target=_watch, args=(interrupted,), daemon=True).start()
    for command in commands:
        status = subprocess.call([shell, "-c", command], stdin=subprocess.DEVNULL)
        if interrupted.is_set():
            return 128 + signal.SIGINT
        if status:
            return status if status > 0 else 128 - status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
