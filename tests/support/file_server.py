"""A file server for tests, which can break off, be busy, or ignore ranges."""

import hashlib
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers import in_thread

from capsnet.sources.transfer import File

CONTENT = bytes(range(256)) * 40
WRONG = CONTENT[::-1]
FILE = File("images.gz", hashlib.md5(CONTENT).hexdigest())


class FileServer(ThreadingHTTPServer):
    """Serves one content under any name; `answers` says what is done to each request before it serves it whole."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.ranges = True
        self.chunked = False
        self.answers: list[int | str] = []
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"


class Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.requests.append((self.path, asked))
        answer = self.server.answers.pop(0) if self.server.answers else "whole"
        self.close_connection = True
        if isinstance(answer, int):
            self.send_response(answer)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start and start >= len(self.server.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        sent = body[: len(body) // 3] if answer == "broken" else body
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(sent), sent) + (b"" if answer == "broken" else b"0\r\n\r\n"))
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def running() -> AbstractContextManager[FileServer]:
    """Run the server for as long as a block lasts."""
    return in_thread(FileServer())
