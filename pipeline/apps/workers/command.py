"""The work of a worker: to run the command of one stage, and to stop it when nobody waits for it any more.

The module travels to the workers by value, so they need the project's folder, but not its packages. It therefore
imports nothing of the project.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from distributed import WorkerPlugin, get_worker

INTERRUPT = b"i"  # as in group.py


class Command(NamedTuple):
    """The command of a stage, and where it runs. Paths are the same on all machines."""

    session: str  # the name of the plugin that runs it
    lines: tuple[str, ...]
    folder: str
    environment: dict[str, str]  # beside that of the worker
    log: str
    group: str  # the file group.py


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    seconds: float
    worker: str


class RunningStages(WorkerPlugin):
    """The commands that run on one worker."""

    def __init__(self) -> None:
        self.inputs: dict[str, IO[bytes]] = {}  # the standard input of each group of processes, by the key of its task
        self.unwanted: set[str] = set()

    def setup(self, worker: Any) -> None:
        self.lock = threading.Lock()

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Interrupt a command if its task was cancelled, or if its client is gone."""
        if start == "executing" and finish not in ("memory", "error"):
            self.interrupt(str(key))

    def teardown(self, worker: Any) -> None:
        for key in [*self.inputs]:
            self.interrupt(key)

    def interrupt(self, key: str) -> None:
        """Interrupt the command of a task. If it has not started yet, it is interrupted as soon as it does."""
        with self.lock:
            self.unwanted.add(key)
            if key in self.inputs:
                _interrupt(self.inputs[key])

    def run(self, command: Command, key: str, worker: str) -> Ended:
        """Run a command to its end. Its output is appended to its log."""
        if not Path(command.folder).is_dir():
            raise FileNotFoundError(
                f"{worker}: {command.folder}: no such folder, expected the project's on all workers"
            )
        started = time.monotonic()
        environment = {**os.environ, **command.environment}
        # The commands call `python`, which is the one that runs this worker.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
        shell = os.environ.get("SHELL") or "/bin/sh"
        with Path(command.log).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", command.group, shell, *command.lines],
                cwd=command.folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert process.stdin is not None
        with process.stdin:
            with self.lock:
                self.inputs[key] = process.stdin
                if key in self.unwanted:
                    _interrupt(process.stdin)
            status = process.wait()
            with self.lock:
                del self.inputs[key]
        return Ended(status, time.monotonic() - started, worker)


def _interrupt(group: IO[bytes]) -> None:
    with suppress(BrokenPipeError):  # it has just ended
        group.write(INTERRUPT)
        group.flush()


def run(command: Command) -> tuple[object, ...]:
    """Run a command on the worker that calls this, and return the fields of Ended: builtin types travel everywhere.

    Raises FileNotFoundError if the worker does not see the project's folder.
    """
    worker = get_worker()
    stages = cast(RunningStages, worker.plugins[command.session])
    return tuple(stages.run(command, str(worker.get_current_task()), f"{worker.name} on {socket.gethostname()}"))


def number_running(session: str) -> int:
    """Return how many commands of a session run on the worker that calls this."""
    return len(cast(RunningStages, get_worker().plugins[session]).inputs)
