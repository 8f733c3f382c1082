"""Fetch official files: checksums, several sources in order, retries, resumption.

A source is a folder or a URL that holds the files under their official names. A file appears under its final name only
after its checksum was right.
"""

import gzip
import hashlib
import shutil
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from capsnet.files import md5

CHUNK = 1 << 18


class File(NamedTuple):
    """An official file: its name and the MD5 of its bytes; without one, whatever a source has is taken."""

    name: str
    md5: str | None


class Unavailable(ValueError):
    """No source had a file, or not the right one; the message names each source and what it said."""


def fetch(
    file: File, sources: Sequence[str], folder: Path, partial: Path, *, attempts: int = 3, timeout: float = 30.0
) -> Path:
    """Bring one file into `folder` and return its path; a right one that is already there is kept.

    The sources are asked in order, each up to `attempts` times with growing pauses; a broken transfer leaves its bytes
    in the folder `partial`, and the next attempt, now or another day, goes on from there where the server allows it.
    `timeout` is in seconds without a byte. Raises Unavailable if no source delivers.
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
            try:
                resumed = _transfer(source, file.name, part, timeout)
            except (FileNotFoundError, IsADirectoryError):
                said.append(f"{source}: no {file.name}")
                break
            except (OSError, HTTPException) as error:
                said.append(f"{source}: {getattr(error, 'reason', error)}")
                continue
            got = md5(part)
            if file.md5 in (None, got):
                shutil.move(part, target)
                return target
            part.unlink()
            said.append(f"{source}: {file.name}: got md5 {got}, expected {file.md5}")
            if not resumed:  # a first half of another day may be to blame; a whole file is simply wrong
                break
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


def _transfer(source: str, name: str, part: Path, timeout: float) -> bool:
    """Bring the file to `part`; return whether earlier bytes were kept."""
    if not is_url(source):
        shutil.copyfile(Path(source) / name, part)
        return False
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(f"{source.rstrip('/')}/{name}")
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing left to send: the part is complete, or of another file
            return True
        if error.code in (403, 404, 410):
            raise FileNotFoundError(name) from error
        raise
    with response:
        if response.status != 206:
            have = 0
        left = response.headers.get("Content-Length")
        total = have + int(left) if left else None
        with (
            part.open("ab" if have else "wb") as out,
            tqdm(total=total, initial=have, desc=name, unit="B", unit_scale=True, disable=None, leave=False) as bar,
        ):
            while chunk := response.read(CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
    if total is not None and part.stat().st_size < total:
        raise ConnectionError(f"{name}: connection closed after {part.stat().st_size} of {total} bytes")
    return have > 0
