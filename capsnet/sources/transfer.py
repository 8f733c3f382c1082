"""Fetch official files: checksums, several sources in order, retries, resumption.

A source is a folder or a URL that holds the files under their official names. A file appears under its final name only
after its content was found right. What a source says is believed only as far as that: pages in the place of files,
bodies without an end, and bytes that drip lead to the next source.
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
MOST = 1 << 30  # bytes of a file of unknown size; the largest copy, SmallNORB as it is published, has 0.9 GB
LEAST_RATE = 5_000.0  # bytes a second, less than a modem's; at this rate the largest official file takes nine hours
WINDOW = 30.0  # seconds over which the rate is taken
ANSWER = 3  # times `timeout` until a server has answered, all its addresses and redirections together
ABSENT = (403, 404, 410)  # HTTP: the server has no such file, or for nobody
BUSY = (408, 425, 429)  # HTTP, and all from 500 on: ask again
REFUSED = (OSError, HTTPException, ValueError)  # what urllib and http.client raise for servers and addresses


class File(NamedTuple):
    """An official file: its name, the MD5 and the number of its bytes.

    Without an MD5 whatever a source has is taken if it passes a check; without a size at most MOST bytes are.
    """

    name: str
    md5: str | None
    size: int | None = None


class Unavailable(ValueError):
    """No source had a file, or not the right one; the message names each source and what it said."""


class _Broken(Exception):
    """A transfer broke off; what came is kept, and the same source is asked again."""


class _Refused(Exception):
    """This source does not give the file now; what came is kept for another day."""


class _Wrong(Exception):
    """What came is not the file."""


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
    """Bring one file into `folder` and return its path; a right one that is already there is kept.

    The sources are asked in order, each up to `attempts` times with growing pauses; a broken transfer leaves its bytes
    in the folder `partial`, and the next attempt, now or another day, goes on from there where the server allows it.
    `check` raises ValueError for a file that must not be taken. `timeout` is in seconds without a byte; a server that
    sends fewer than LEAST_RATE bytes a second over `window` seconds is given up. Raises Unavailable if no source
    delivers, and OSError as the file system does here.
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
                if not resumed:  # a first half of another day may be to blame; a whole file is simply wrong
                    break
            else:
                with whole_file(target) as temporary:
                    shutil.move(part, temporary)
                for abandoned in partial.glob(f"{escape(file.name)}.*.part"):
                    abandoned.unlink()
                return target
    answers = "; ".join(dict.fromkeys(said)) or "no source"
    raise Unavailable(f"{file.name}: not to be had: {answers}")


@contextmanager
def open_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a gzipped file for reading. Raises ValueError naming it, and the way out, where it turns out damaged."""
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: truncated or damaged gzip ({error}); delete it and download again") from error


def is_url(source: str) -> bool:
    """Tell a URL from a folder."""
    return source.startswith(("http://", "https://"))


def without_password(source: str) -> str:
    """Return a source as it may be shown: without the user and the password of a URL."""
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
    """Bring the file to `part`, after what is there already of a URL's."""
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
        if error.code == 416 and have:  # nothing left to send: the part is complete, or of another file
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
    # Without a length the end of a connection is that of the file, unless more of it is known to come.
    expected = file.size if total is None and "Transfer-Encoding" not in response.headers else total
    if expected is not None and size < expected:
        raise _Broken(f"{file.name}: connection closed after {size} of {expected} bytes")


def _request(source: str, name: str, have: int) -> urllib.request.Request:
    """Ask for a file from byte `have` on; user and password of the URL go into the header where they belong."""
    request = urllib.request.Request(f"{without_password(source).rstrip('/')}/{quote(name)}")
    if named := re.match(r"https?://([^/]*)@", source):
        token = base64.b64encode(unquote(named[1]).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    if have:
        request.add_header("Range", f"bytes={have}-")
    return request


def _answer(request: urllib.request.Request, timeout: float) -> HTTPResponse:
    """Return the response to a request, its body still to be read.

    Raises like urlopen, and TimeoutError for a server whose headers take too long altogether: urlopen itself waits
    `timeout` for every single byte of them.
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
    """Return the number of bytes that a server announces, and None where it makes no sense."""
    said = response.headers.get("Content-Length", "")
    return int(said) if re.fullmatch("[0-9]{1,18}", said) else None


def _steady(window: float) -> Callable[[int], None]:
    """Return what is told the number of bytes that came, and raises _Refused if they are too few for their time."""
    since, come = time.monotonic(), 0

    def told(count: int) -> None:
        nonlocal since, come
        come += count
        took = time.monotonic() - since
        if took < window:
            return
        if come < LEAST_RATE * took:
            raise _Refused(f"got {come / took:.3g} bytes a second, expected at least {LEAST_RATE:g}")
        since, come = time.monotonic(), 0

    return told


def _copy(
    read: Callable[[int], bytes],
    out: BinaryIO,
    have: int,
    file: File,
    total: int | None,
    told: Callable[[int], None],
) -> None:
    """Copy what comes to `out`, no more than the file can have; every byte that came is in it, whatever happens."""
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
            told(len(chunk))


def _words(error: Exception) -> str:
    """Return what an error says in one line."""
    return " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
