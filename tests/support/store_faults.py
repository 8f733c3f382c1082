"""Faults of the store of runs, done to a small training in a process of its own.

Each function does its fault `count` times, and returns what happened and what was lost: `nothing`, if MLflow has every
number of history.csv, every model and every status in the end, and no more than one line was said about it.
"""

import os
import random
import resource
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from disks import obey_permissions
from errands import wait_until
from recorded_study import new_study, served_study
from servers import free_port

Told = tuple[str, str]


def repeated(count: int, happened: str, once: Callable[[], str]) -> Told:
    """Do a fault `count` times; return what happened and what was lost, each loss once."""
    losses = {once() for _ in range(count)}
    return happened, "; ".join(sorted(losses - {"nothing"})) or "nothing"


def limit_files(size: int) -> Callable[[], None]:
    """Return a function that lets no file grow beyond `size` bytes in this process: to sqlite the disk is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def server_restarted(count: int) -> Told:
    """The server is killed in the middle of a training, and started again after five seconds."""

    def once() -> str:
        with served_study() as (study, server):
            server.start()
            wait_until(server.answers)
            again = threading.Timer(5, server.start)

            def kill() -> None:
                server.kill()
                again.start()

            said = study.train(kill, pace=3.0)
            again.join()
            wait_until(server.answers)
            return study.lost(said)

    return repeated(count, "the training went on; recorded when the server answered again", once)


def server_silent(count: int) -> Told:
    """The server accepts connections and answers nothing; another one answers later."""

    def once() -> str:
        with served_study() as (study, server):
            port = int(server.address.rpartition(":")[2])
            with socket.create_server(("127.0.0.1", port)):
                said = study.train()
            server.start()
            wait_until(server.answers)
            lost = study.lost(said)
        return lost if "has not answered for 5 s" in said else f"{lost}; no line about the wait"

    return repeated(count, "a line after 5 s; recorded by the next stage", once)


def server_slow(count: int) -> Told:
    """Each answer of the server takes a tenth of a second."""

    def once() -> str:
        with served_study() as (study, server):
            port = int(server.address.rpartition(":")[2])
            server.address = f"http://127.0.0.1:{free_port()}"
            server.start()
            wait_until(server.answers)
            with delayed(port, int(server.address.rpartition(":")[2]), 0.1):
                return study.lost(study.train())

    return repeated(count, "all recorded, at the server's pace", once)


@contextmanager
def delayed(port: int, behind: int, seconds: float) -> Iterator[None]:
    """Pass connections on to another port of this machine, and answers back only after a while."""

    def copy(source: socket.socket, target: socket.socket, pause: float) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                time.sleep(pause)
                target.sendall(content)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                asking, _ = listening.accept()
                answering = socket.create_connection(("127.0.0.1", behind))
                for pair in ((asking, answering, 0.0), (answering, asking, seconds)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listening:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()


def store_locked(count: int) -> Told:
    """Another process locks the database, until after the end of the training."""

    def once() -> str:
        with new_study() as study, closing(sqlite3.connect(study.store, isolation_level=None)) as other:
            said = study.train(lambda: other.execute("begin exclusive"))
            other.execute("rollback")
            return study.lost(said)

    return repeated(count, "the training went on; recorded by the next stage", once)


def store_deleted(count: int) -> Told:
    """The database is deleted in the middle of a training."""

    def once() -> str:
        with new_study() as study:
            return study.lost(study.train(study.store.unlink))

    return repeated(count, "made anew, with all of the run", once)


def store_read_only(count: int) -> Told:
    """The database cannot be written; later it can."""

    def once() -> str:
        with new_study() as study:
            study.store.chmod(0o444)
            said = study.train(limit=obey_permissions)
            study.store.chmod(0o644)
            return study.lost(said)

    return repeated(count, "the training went on; recorded by the next stage", once)


def store_half_made(count: int) -> Told:
    """A full disk ends MLflow's own creation of the database half-way; later there is room."""
    code = "from mlflow import MlflowClient; MlflowClient('sqlite:///mlflow.db')"

    def once() -> str:
        with new_study() as study:
            options = {"cwd": study.folder, "env": study.variables, "capture_output": True}
            study.store.unlink()
            limit = limit_files(random.Random(count).randrange(100_000, 300_000))
            subprocess.run([sys.executable, "-c", code], preexec_fn=limit, check=False, **options)
            os.utime(study.store, (0, 0))  # as it is a while later
            lost = study.lost(study.train())
            aside = [*study.folder.glob("mlflow.db.half-made")]
            return lost if aside else f"{lost}; the half-made store was not set aside"

    return repeated(count, "the half-made database is set aside", once)


def store_on_a_full_disk(count: int) -> Told:
    """The disk is full while the database is created; later there is room."""

    def once() -> str:
        with new_study() as study:
            study.store.unlink()
            said = study.train(limit=limit_files(200_000))
            left = "" if not study.store.exists() else "; a half-made database"
            return study.lost(said) + left

    return repeated(count, "the training went on; made and recorded by the next stage", once)


def artifacts_read_only(count: int) -> Told:
    """The folder of artifacts cannot be written; later it can."""

    def once() -> str:
        with new_study() as study:
            artifacts = study.folder / "mlartifacts"
            artifacts.mkdir(mode=0o555)
            said = study.train(limit=obey_permissions)
            artifacts.chmod(0o755)
            return study.lost(said)

    return repeated(count, "numbers and status recorded; files recorded by the next stage", once)


def artifacts_full(count: int) -> Told:
    """The disk of the artifacts is full; later there is room."""
    mount = ("unshare", "-rm", "sh", "-c")
    full = 'mkdir -p mlartifacts && mount -t tmpfs -o size=4k none mlartifacts && exec "$@"'
    with tempfile.TemporaryDirectory() as folder:
        allowed = subprocess.run([*mount, full, "sh", "true"], cwd=folder, capture_output=True, check=False)
    if allowed.returncode != 0:
        return "not tried: this system lets no user mount a small disk", "nothing"

    def once() -> str:
        with new_study() as study:
            said = study.train(prefix=(*mount, full, "sh"))
            return study.lost(said)

    return repeated(count, "numbers and status recorded; files recorded by the next stage", once)


FAULTS: dict[str, Callable[[int], Told]] = {
    "the server is killed, and is back after 5 s": server_restarted,
    "the server accepts and never answers": server_silent,
    "the server takes 0.1 s for each answer": server_slow,
    "the database is locked": store_locked,
    "the database is deleted": store_deleted,
    "the database is read-only": store_read_only,
    "the database was half made by MLflow": store_half_made,
    "the disk is full while the database is made": store_on_a_full_disk,
    "the folder of artifacts is read-only": artifacts_read_only,
    "the disk of the artifacts is full": artifacts_full,
}
