"""Small files in the official formats, with what they hold, and a server for them.

Axes: N images, or stereo pairs.
"""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from own_arrays import Contents
from servers import in_thread

from capsnet.sources import cifar10, mnist, smallnorb
from capsnet.sources.transfer import File


def gzipped(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1, mtime=0))
    return path


def idx(array: np.ndarray) -> bytes:
    """Write an array of bytes as LeCun's page describes the format."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def matrix(array: np.ndarray, magic: int | None = None, sizes: tuple[int, ...] | None = None) -> bytes:
    """Write an array as NORB's page describes the format; a magic number or sizes that are wrong, if they are given."""
    sizes = sizes or array.shape + (1,) * (3 - array.ndim)
    magic = magic or {"u1": 0x1E3D4C55, "i4": 0x1E3D4C54}[array.dtype.str[1:]]
    return struct.pack(f"<{2 + len(sizes)}i", magic, array.ndim, *sizes) + array.astype(array.dtype.str).tobytes()


def write_idx(folder: Path, **changes: np.ndarray) -> Contents:
    """Write the four files of MNIST, or of Fashion-MNIST: they have the same names."""
    noise = np.random.default_rng(0)
    arrays = {
        "train_images": noise.integers(0, 256, (20, 28, 28), np.uint8),
        "train_labels": np.arange(20, dtype=np.uint8) % 10,
        "test_images": noise.integers(0, 256, (3, 28, 28), np.uint8),
        "test_labels": np.array([9, 0, 4], np.uint8),
    } | changes
    for file, array in zip(mnist.FILES, arrays.values(), strict=True):
        gzipped(folder / file.name, idx(array))
    return arrays


def write_smallnorb(folder: Path, **changes: np.ndarray | bytes) -> Contents:
    """Write the six files of SmallNORB; a change is an array, or a file's whole content before compression."""
    noise = np.random.default_rng(0)
    contents: Contents = {}
    for split, count in (("train", 20), ("test", 10)):
        contents[f"{split}_dat"] = noise.integers(0, 256, (count, 2, 96, 96), np.uint8)
        contents[f"{split}_cat"] = np.arange(count, dtype="<i4") % 5
        contents[f"{split}_info"] = noise.integers(0, [10, 9, 35, 6], (count, 4)).astype("<i4")
    for file, (name, array) in zip(smallnorb.FILES, contents.items(), strict=True):
        written = changes.get(name, array)
        gzipped(folder / file.name, written if isinstance(written, bytes) else matrix(written))
    return contents


def tar(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def write_cifar10(folder: Path, **changes: bytes | None) -> Contents:
    """Write the binary archive of 5 x 4 training and 3 test images; a change replaces a file in it, None omits it."""
    noise = np.random.default_rng(0)
    contents = {
        "train_images": noise.integers(0, 256, (20, 3, 32, 32), np.uint8),
        "train_labels": np.arange(20, dtype=np.uint8) % 10,
        "test_images": noise.integers(0, 256, (3, 3, 32, 32), np.uint8),
        "test_labels": np.array([9, 0, 4], np.uint8),
    }
    rows = {
        split: np.concatenate([contents[f"{split}_labels"][:, None], contents[f"{split}_images"].reshape(-1, 3072)], 1)
        for split in ("train", "test")
    }
    files: dict[str, bytes | None] = {"batches.meta.txt": "\n".join(cifar10.CLASS_NAMES).encode()}
    files |= {f"data_batch_{number + 1}.bin": rows["train"][4 * number :][:4].tobytes() for number in range(5)}
    files |= {"test_batch.bin": rows["test"].tobytes()}
    files |= {f"{name}.bin": change for name, change in changes.items()}
    members = {f"{cifar10.FOLDER}/{name}": data for name, data in files.items() if data is not None}
    gzipped(folder / cifar10.FILES[0].name, tar(members))
    return contents


WRITERS = {"mnist": write_idx, "fashion": write_idx, "cifar10": write_cifar10, "smallnorb": write_smallnorb}


def take_as_official(dataset: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the files in `folder` those whose checksums the data set's module expects."""
    files = [File(file.name, hashlib.md5((folder / file.name).read_bytes()).hexdigest()) for file in dataset.FILES]
    monkeypatch.setattr(dataset, "FILES", tuple(files))
    if dataset is smallnorb:
        unpacked = {file.name: gzip.decompress((folder / file.name).read_bytes()) for file in files}
        monkeypatch.setattr(
            smallnorb, "UNPACKED", {name: hashlib.md5(content).hexdigest() for name, content in unpacked.items()}
        )


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    with pytest.MonkeyPatch.context() as patch, in_thread(server):
        patch.setenv("no_proxy", "127.0.0.1")
        yield f"http://127.0.0.1:{server.server_port}"
