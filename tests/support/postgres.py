"""A PostgreSQL server of the tests' own, on a free port of this machine, and empty databases in it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import free_port

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
USER = "capsnet"
UNPRIVILEGED = "postgres", "nobody"  # the server refuses to run as root


def programs() -> Path | None:
    """Return the folder of the server's programs, or None if it is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(folder for place in PLACES for folder in Path("/").glob(place[1:]))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


class PostgresServer:
    """A server that runs, and the URLs of its databases."""

    def __init__(self, binaries: Path, port: int) -> None:
        self.binaries, self.port, self.databases = binaries, port, 0

    def database(self) -> str:
        """Create an empty database and return its URL."""
        self.databases += 1
        name = f"test{self.databases}"
        self.execute(f"create database {name}", "postgres")
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str, database: str) -> str:
        """Execute a statement, and return what psql prints."""
        command = [self.binaries / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database]
        return subprocess.run([*command, "-Atqc", statement], check=True, capture_output=True, text=True).stdout


@contextmanager
def running_server(binaries: Path) -> Iterator[PostgresServer]:
    """Run a server for the length of the block. Its files are removed afterwards."""
    user = None
    if os.getuid() == 0:
        import pwd

        known = {entry.pw_name for entry in pwd.getpwall()}
        user = next(name for name in UNPRIVILEGED if name in known)
    folder = Path(tempfile.mkdtemp(prefix="capsnet-postgres-"))
    if user:
        shutil.chown(folder, user)
    port, data = free_port(), folder / "data"
    # No password, no socket file, no waiting for the disk: the data are thrown away.
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
    try:
        _call(user, folder, binaries / "initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "-N")
        _call(user, folder, binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            yield PostgresServer(binaries, port)
        finally:
            _call(user, folder, binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _call(user: str | None, folder: Path, *command: str | Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        user=user,
        group=user and _group(user),
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # no pipe: the server would keep it open
        stderr=sys.__stderr__,
        check=False,
    )
    if done.returncode:
        log = folder / "log"
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {log.read_text() if log.exists() else ''}")


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
