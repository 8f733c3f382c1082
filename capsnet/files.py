"""Files that are written whole or not at all, and checksums of their content."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def _nothing() -> None:
    """Do nothing."""


@contextmanager
def whole_file(path: Path, *, before_replacing: Callable[[], None] = _nothing) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` on success and is removed on failure.

    An earlier file at `path` stays whole until the new one is on the disk; then `before_replacing` is called. Raises
    OSError as the file system does; an error that names no file, such as that of a full disk, gets the name of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        before_replacing()
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # the folder may have become read-only
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, *, before_replacing: Callable[[], None] = _nothing) -> None:
    """Write `content` (text as UTF-8) to `path`, whole or not at all."""
    with whole_file(path, before_replacing=before_replacing) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def md5(path: Path) -> str:
    """Return the MD5 of a file in hexadecimal digits, as official checksums and DVC write it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
