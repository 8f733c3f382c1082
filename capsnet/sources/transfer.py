"""Fetching official files: checksums, several sources in order, retries, resumption.

A source is a folder or a URL that holds the files under their official names. A file gets its final name only after its
content was checked. Sources are not trusted: if one sends a web page instead of the file, sends data without an end or
is very slow, the next source is tried.
"""

import base64
import gzip
import hashlib
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, NamedTuple
from urllib.parse import quote, unquote

from tqdm import tqdm

from capsnet.files import md5, whole_file

CHUNK = 1 << 18
MOST = 1 << 30  # largest file of unknown size, in bytes; the largest copy, of SmallNORB, has 0.9 GB
LEAST_RATE = 5_000.0  # bytes a second; at this rate the largest official file takes nine hours
WINDOW = 30.0  # seconds over which the rate is measured
ANSWER = 3  # a server must answer within this many times `timeout`, with all its addresses and redirections
ABSENT = (403, 404, 410)  # HTTP status: the server does not have the file, or does not give it away
BUSY = (408, 425, 429)  # HTTP status: try again, as after all from 500 on
REFUSED = (OSError, HTTPException, ValueError)  # what urllib and http.client raise for bad servers and addresses


class File(NamedTuple):
    """An official file: its name, its MD5 and its size in bytes.

    Without an MD5, any content that passes the check is accepted; without a size, at most MOST bytes are.
    """

    name: str
    md5: str | None
    size: int | None = None


class Unavailable(ValueError):
    """No source had the right file; the message names each source and its answer."""


class _Broken(Exception):
    """A transfer broke off; the bytes so far are kept, and the same source is tried again."""


class _Refused(Exception):
    """This source does not deliver the file now; the bytes so far are kept for a later call."""


class _Wrong(Exception):
    """The bytes are not those of the file."""


def fetch(
    file: File,
    sources: Sequence[str],
    folder: Path,
    partial: Path,
    *,
    check: Callable[[Path], object] | None = None,
    attempts: int = 3,
    timeout: float = 30.0,
    window: float = WINDOW,
) -> Path:
    """Bring one file into `folder` and return its path; if the right file is already there, it is kept.

    A broken transfer leaves its bytes in the folder `partial`. The next attempt, in this call or a later one, continues
    from there if the server allows it.

    Args:
        sources: Folders and URLs, tried in this order.
        partial: Folder for unfinished files.
        check: Raises ValueError for a file that must not be accepted.
        attempts: How many times each source is tried, with longer and longer pauses.
        timeout: Longest time without a byte, in seconds.
        window: Seconds. If a server sends fewer than LEAST_RATE bytes a second for so long, the next one is tried.

    Raises:
        Unavailable: If no source delivers the file.
        OSError: If the file cannot be written.
    """
    target = folder / file.name
    if target.is_file() and file.md5 is not None and md5(target) == file.md5:
        return target
    partial.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    for source in sources:
        # One partial file a source: bytes of two servers are never mixed.
        part = partial / f"{file.name}.{hashlib.md5(source.encode()).hexdigest()[:8]}.part"
        for attempt in range(attempts):
            if attempt:
                time.sleep(2 ** (attempt - 1))
            resumed = is_url(source) and part.exists()
            try:
                _transfer(source, file, part, timeout, window)
                _require_right(file, part, check)
            except _Broken as error:
                said.append(f"{without_password(source)}: {error}")
            except _Refused as error:
                said.append(f"{without_password(source)}: {error}")
                break
            except _Wrong as error:
                part.unlink(missing_ok=True)
                said.append(f"{without_password(source)}: {file.name}: {error}")
                if not resumed:  # after a resumption the first part may be the wrong one, so try once more
                    break
            else:
                with whole_file(target) as temporary:
                    shutil.move(part, temporary)
                for abandoned in partial.glob(f"{escape(file.name)}.*.part"):
                    abandoned.unlink()
                return target
    answers = "; ".join(dict.fromkeys(said)) or "no source"
    raise Unavailable(f"{file.name}: not available: {answers}")


@contextmanager
def open_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a gzipped file for reading. Raises ValueError that says what to do if the file is damaged."""
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: truncated or damaged gzip ({error}); delete it and download again") from error


def is_url(source: str) -> bool:
    """Return whether a source is a URL; otherwise it is a folder."""
    return source.startswith(("http://", "https://"))


def without_password(source: str) -> str:
    """Return a source without the user and the password of a URL, so that it may be shown."""
    return re.sub(r"(?<=://)[^/]*@", "", source) if is_url(source) else source


def _require_right(file: File, part: Path, check: Callable[[Path], object] | None) -> None:
    size = part.stat().st_size
    if file.size not in (None, size):
        raise _Wrong(f"got {size} bytes, expected {file.size}")
    if file.md5 is not None and (got := md5(part)) != file.md5:
        raise _Wrong(f"got md5 {got}, expected {file.md5}")
    if check is not None:
        try:
            check(part)
        except ValueError as error:
            raise _Wrong(_words(error).removeprefix(f"{part}: ")) from error


def _transfer(source: str, file: File, part: Path, timeout: float, window: float) -> None:
    """Copy the file to `part`; from a URL, continue behind the bytes that are already there."""
    if not is_url(source):
        try:
            opened = (Path(source) / file.name).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise _Refused(f"no {file.name}") from error
        except OSError as error:
            raise _Refused(f"{file.name}: {error.strerror}") from error
        with opened, part.open("wb") as out:
            _copy(opened.read, out, 0, file, None, lambda _: None)
        return
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _answer(_request(source, file.name, have), timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # nothing is left to send: the part is complete, or of another file
            return
        if error.code in ABSENT:
            raise _Refused(f"no {file.name}") from error
        kind = _Broken if error.code in BUSY or error.code >= 500 else _Refused
        raise kind(f"status {error.code}, {_words(error)}") from error
    except REFUSED as error:
        raise _Broken(_words(error)) from error
    with response:
        if response.status != 206:
            have = 0
        length = _length(response)
        total = None if length is None else have + length
        if total is not None and (total > MOST if file.size is None else total != file.size):
            raise _Wrong(f"got {total} bytes, expected {file.size or f'at most {MOST}'}")
        with part.open("ab" if have else "wb") as out:
            _copy(response.read1, out, have, file, total, _steady(window))
    size = part.stat().st_size
    # If no length is announced, the connection ends where the file ends, unless the file is known to be larger.
    expected = file.size if total is None and "Transfer-Encoding" not in response.headers else total
    if expected is not None and size < expected:
        raise _Broken(f"{file.name}: connection closed after {size} of {expected} bytes")


def _request(source: str, name: str, have: int) -> urllib.request.Request:
    """Return the request for a file from byte `have` on; user and password of the URL go into a header."""
    request = urllib.request.Request(f"{without_password(source).rstrip('/')}/{quote(name)}")
    if named := re.match(r"https?://([^/]*)@", source):
        token = base64.b64encode(unquote(named[1]).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    if have:
        request.add_header("Range", f"bytes={have}-")
    return request


def _answer(request: urllib.request.Request, timeout: float) -> HTTPResponse:
    """Return the response to a request, its body still to be read.

    Raises like urlopen, and TimeoutError if the headers take too long in total: urlopen itself would wait `timeout` for
    each byte of them.
    """
    answers: SimpleQueue[HTTPResponse | Exception] = SimpleQueue()
    given_up = threading.Event()

    def ask() -> None:
        try:
            response = urllib.request.urlopen(request, timeout=timeout)
        except Exception as error:  # raised below
            answers.put(error)
            return
        if given_up.is_set():
            response.close()
        else:
            answers.put(response)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER * timeout)
    except Empty:
        given_up.set()
        raise TimeoutError(f"no answer within {ANSWER * timeout:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _length(response: HTTPResponse) -> int | None:
    """Return the number of bytes that a server announces; None if it announces none or nonsense."""
    said = response.headers.get("Content-Length", "")
    return int(said) if re.fullmatch("[0-9]{1,18}", said) else None


def _steady(window: float) -> Callable[[int], None]:
    """Return a function that counts received bytes, and raises _Refused if they come too slowly."""
    since, received = time.monotonic(), 0

    def count_bytes(count: int) -> None:
        nonlocal since, received
        received += count
        took = time.monotonic() - since
        if took < window:
            return
        if received < LEAST_RATE * took:
            raise _Refused(f"got {received / took:.3g} bytes a second, expected at least {LEAST_RATE:g}")
        since, received = time.monotonic(), 0

    return count_bytes


def _copy(
    read: Callable[[int], bytes],
    out: BinaryIO,
    have: int,
    file: File,
    total: int | None,
    count_bytes: Callable[[int], None],
) -> None:
    """Copy what `read` returns to `out`, but no more bytes than the file can have; an error loses no byte."""
    most = MOST if file.size is None else file.size
    with tqdm(total=total, initial=have, desc=file.name, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        while True:
            try:
                chunk = read(CHUNK)
            except REFUSED as error:
                raise _Broken(_words(error)) from error
            if not chunk:
                return
            have += len(chunk)
            if have > most:
                raise _Wrong(f"got more than {most} bytes" + (", the size of the file" if file.size else ""))
            out.write(chunk)
            out.flush()
            bar.update(len(chunk))
            count_bytes(len(chunk))


def _words(error: Exception) -> str:
    """Return the message of an error in one line."""
    return " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
