"""Fetching from servers that do not behave: each costs little, leaves nothing wrong, and the next one is asked."""

import base64
import hashlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from servers import in_thread

from capsnet.data.arrays import read_arrays
from capsnet.sources import transfer
from capsnet.sources.transfer import File, Unavailable, fetch, without_password

CONTENT = bytes(range(256)) * 40
OFFICIAL = File("images.gz", hashlib.md5(CONTENT).hexdigest(), len(CONTENT))
COPY = File("digits.npz", None)
PAGE = b"<!doctype html><title>Sign in</title>"
Behaviour = Callable[[Callable[[bytes], object], threading.Event], object]
PATIENCE = 10.0  # seconds for what must not take long


class BadServer(socketserver.ThreadingTCPServer):
    """Answers every request by `behaviour`, which is given what sends bytes and what tells that it is over."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.behaviour: Behaviour
        self.over = threading.Event()
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Connection(socketserver.StreamRequestHandler):
    server: BadServer

    def handle(self) -> None:
        lines = [*iter(self.rfile.readline, b"\r\n")]
        self.server.requests.append(b"".join(lines).decode())
        with suppress(OSError):  # the client has gone
            self.server.behaviour(self.wfile.write, self.server.over)


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode() + body


def says(content: bytes) -> Behaviour:
    """Behave by sending this and no more."""
    return lambda send, over: send(content)


@pytest.fixture
def bad() -> Iterator[BadServer]:
    with in_thread(BadServer()) as server:
        try:
            yield server
        finally:
            server.over.set()


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder that has the right file, and a copy."""
    folder = tmp_path / "good"
    folder.mkdir()
    (folder / OFFICIAL.name).write_bytes(CONTENT)
    images, labels = np.zeros((4, 28, 28), np.uint8), np.arange(4) % 2
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    with (folder / COPY.name).open("wb") as file:
        np.savez(file, **arrays)
    return folder


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("capsnet.sources.transfer.time.sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    start = time.monotonic()
    yield
    assert time.monotonic() - start < PATIENCE


def fetched(tmp_path: Path, *sources: object, file: File = OFFICIAL) -> Path:
    check = read_arrays if file is COPY else None
    places = tmp_path / "raw", tmp_path / "partial"
    return fetch(file, [str(source) for source in sources], *places, check=check, timeout=0.2, window=0.2)


def leftovers(tmp_path: Path) -> list[bytes]:
    return [path.read_bytes() for path in (tmp_path / "partial").iterdir()]


@pytest.mark.parametrize("file", [OFFICIAL, COPY], ids=["official", "copy"])
@pytest.mark.parametrize("length", [True, False])
def test_a_page_in_the_place_of_a_file_is_not_believed(
    bad: BadServer, good: Path, tmp_path: Path, file: File, length: bool
) -> None:
    bad.behaviour = says(answer(PAGE, *[f"Content-Length: {len(PAGE)}"] * length))
    assert fetched(tmp_path, bad.url, good, file=file).read_bytes() == (good / file.name).read_bytes()
    assert leftovers(tmp_path) == []
    (tmp_path / "raw" / file.name).unlink()
    with pytest.raises(Unavailable, match=rf"{file.name}: not available: {bad.url}: ") as caught:
        fetched(tmp_path, bad.url, file=file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "raw" / file.name).exists()


def test_a_copy_that_is_none_is_named_with_what_is_wrong_about_it(bad: BadServer, tmp_path: Path) -> None:
    bad.behaviour = says(answer(PAGE, f"Content-Length: {len(PAGE)}"))
    with pytest.raises(Unavailable, match=rf"{bad.url}: digits.npz: not an \.npz file, or a damaged one$"):
        fetched(tmp_path, bad.url, file=COPY)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("length", ["abc", "-5", "9" * 5000, "1 2", ""])
def test_a_length_that_makes_no_sense_is_passed_over(bad: BadServer, tmp_path: Path, length: str) -> None:
    bad.behaviour = says(answer(CONTENT, f"Content-Length: {length}"))
    assert fetched(tmp_path, bad.url).read_bytes() == CONTENT


def endless(headers: bytes) -> Behaviour:
    def behave(send: Callable[[bytes], object], over: threading.Event) -> None:
        send(headers)
        while not over.is_set():
            send(b"\0" * 65536)

    return behave


@pytest.mark.parametrize("file", [OFFICIAL, COPY], ids=["official", "copy"])
@pytest.mark.parametrize("headers", [[], [f"Content-Length: {1 << 50}"]], ids=["no length", "a petabyte"])
def test_a_body_without_an_end_is_cut_off_and_leaves_nothing(
    bad: BadServer, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: File, headers: list[str]
) -> None:
    monkeypatch.setattr(transfer, "MOST", 300_000)
    bad.behaviour = endless(answer(b"", *headers))
    assert fetched(tmp_path, bad.url, good, file=file).read_bytes() == (good / file.name).read_bytes()
    assert len(bad.requests) == 1
    with pytest.raises(Unavailable, match=r"got (more than|1125899906842624 bytes, expected)"):
        fetched(tmp_path, bad.url, file=File("other.gz", "0" * 32, 300_000))
    assert leftovers(tmp_path) == []


def dripping(start: bytes, rest: bytes) -> Behaviour:
    """Behave by sending `rest` byte by byte, more slowly than anybody waits for but never pausing for long."""

    def behave(send: Callable[[bytes], object], over: threading.Event) -> None:
        send(start)
        for byte in rest:
            send(bytes([byte]))
            if over.wait(0.01):
                return

    return behave


def test_a_body_that_drips_is_given_up_and_what_came_is_kept(bad: BadServer, good: Path, tmp_path: Path) -> None:
    bad.behaviour = dripping(answer(b"", f"Content-Length: {len(CONTENT)}"), CONTENT)
    with pytest.raises(Unavailable, match=r": got \d+\.?\d* bytes a second, expected at least 5000$"):
        fetched(tmp_path, bad.url)
    assert len(bad.requests) == 1
    (kept,) = leftovers(tmp_path)
    assert len(kept) > 3
    assert CONTENT.startswith(kept)
    rest = answer(CONTENT[len(kept) :], status="206 Partial Content")
    bad.behaviour = says(rest)
    assert fetched(tmp_path, bad.url).read_bytes() == CONTENT
    assert f"Range: bytes={len(kept)}-" in bad.requests[-1]


def test_after_a_body_that_drips_the_next_source_is_asked_and_the_part_goes(
    bad: BadServer, good: Path, tmp_path: Path
) -> None:
    bad.behaviour = dripping(answer(b""), CONTENT)
    assert fetched(tmp_path, bad.url, good).read_bytes() == CONTENT
    assert leftovers(tmp_path) == []


def test_headers_that_drip_are_given_up(bad: BadServer, good: Path, tmp_path: Path) -> None:
    bad.behaviour = dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 9000)
    assert fetched(tmp_path, bad.url, good).read_bytes() == CONTENT
    with pytest.raises(Unavailable, match=rf"{bad.url}: no answer within 0\.6 s$"):
        fetched(tmp_path, bad.url, file=File("other.gz", None))


def test_a_server_that_falls_silent_is_given_up(bad: BadServer, good: Path, tmp_path: Path) -> None:
    def behave(send: Callable[[bytes], object], over: threading.Event) -> None:
        send(answer(CONTENT[:100], f"Content-Length: {len(CONTENT)}"))
        over.wait()

    bad.behaviour = behave
    with pytest.raises(Unavailable, match="timed out"):
        fetched(tmp_path, bad.url)
    assert leftovers(tmp_path) == [CONTENT[:100]]
    assert fetched(tmp_path, bad.url, good).read_bytes() == CONTENT


def test_a_connection_cut_without_a_length_is_known_by_the_size_of_the_file(bad: BadServer, tmp_path: Path) -> None:
    answers = [answer(CONTENT[:4000]), answer(CONTENT[4000:], status="206 Partial Content")]
    bad.behaviour = lambda send, over: send(answers.pop(0))
    assert fetched(tmp_path, bad.url).read_bytes() == CONTENT
    assert [f"Range: bytes={start}-" in bad.requests[start > 0] for start in (0, 4000)] == [False, True]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (answer(b"", "Location: /images.gz", status="302 Found"), "status 302, .*infinite loop"),
        (answer(b"", "Location: file:///etc/hostname", status="302 Found"), "status 302, "),
        (answer(b"", status="401 Unauthorized"), "status 401, Unauthorized"),
        (answer(b"", status="503 Busy"), "status 503, Busy"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ""),
        (b"HTTP/1.1 two hundred\r\n\r\n", ""),
        (b"", "closed connection"),
        (answer(b"zz\r\nnothing", "Transfer-Encoding: chunked"), ""),
    ],
)
def test_an_answer_that_makes_no_sense_is_told_in_one_line_and_the_next_source_asked(
    bad: BadServer, good: Path, tmp_path: Path, sent: bytes, said: str
) -> None:
    bad.behaviour = says(sent)
    with pytest.raises(Unavailable, match=rf"images.gz: not available: {bad.url}: .*{said}") as caught:
        fetched(tmp_path, bad.url)
    assert "\n" not in str(caught.value)
    assert fetched(tmp_path, bad.url, good).read_bytes() == CONTENT
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("address", ["http://", "http://a..b", "http://[", "http://127.0.0.1:port"])
def test_an_address_that_makes_no_sense_is_told_in_one_line_and_the_next_source_asked(
    good: Path, tmp_path: Path, address: str
) -> None:
    with pytest.raises(Unavailable, match=r"images.gz: not available: http://.*: .") as caught:
        fetched(tmp_path, address)
    assert "\n" not in str(caught.value)
    assert fetched(tmp_path, address, good).read_bytes() == CONTENT


def test_what_this_machine_does_not_manage_is_no_fault_of_a_source(
    bad: BadServer, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: Path, to: Path) -> None:
        raise OSError(28, "No space left on device", str(to))

    monkeypatch.setattr("capsnet.sources.transfer.shutil.move", full)
    with pytest.raises(OSError, match="No space left on device"):
        fetched(tmp_path, good)
    assert [*(tmp_path / "raw").iterdir()] == []


def test_a_user_and_a_password_reach_the_server_alone(bad: BadServer, tmp_path: Path) -> None:
    bad.behaviour = says(answer(b"", status="404 Not Found"))
    source = bad.url.replace("//", "//anna:se%2Fcret@")
    with pytest.raises(Unavailable, match=f"images.gz: not available: {bad.url}: no images.gz$"):
        fetched(tmp_path, source)
    token = base64.b64encode(b"anna:se/cret").decode()
    assert f"Authorization: Basic {token}" in bad.requests[0]
    assert without_password("https://a:b@c@host/d@e") == "https://host/d@e"
    assert without_password("folder/a@b") == "folder/a@b"


def test_a_name_with_letters_of_any_kind_is_asked_for(bad: BadServer, tmp_path: Path) -> None:
    bad.behaviour = says(answer(b"x"))
    assert fetched(tmp_path, f"{bad.url}/dossier", file=File("é ü.gz", None)).read_bytes() == b"x"
    assert bad.requests[0].startswith("GET /dossier/%C3%A9%20%C3%BC.gz HTTP/1.1")
