"""Real servers for tests: in a thread of this process, or as a program on a free port. They end with their block."""

import os
import signal
import socket
import socketserver
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

AnyServer = TypeVar("AnyServer", bound=socketserver.BaseServer)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def in_thread(server: AnyServer) -> Iterator[AnyServer]:
    """Let a server answer in a thread for as long as the block lasts, also if the block fails, and close it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving(command: Sequence[str], asked: str, patience: float, **options: Any) -> Iterator[None]:
    """Run a command with `options` of Popen for as long as the block lasts, once the address `asked` answers.

    It has `patience` seconds to do so.
    """
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        deadline = time.monotonic() + patience
        while True:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            try:
                with urllib.request.urlopen(asked, timeout=5):
                    break
            except OSError:
                time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
