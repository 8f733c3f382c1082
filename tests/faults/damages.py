"""Damaged inputs to every reader: only documented errors, in bounded time and memory."""

import gzip
import hashlib
import io
import json
import random
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from damaged import header_of
from official_files import idx, matrix, write_idx, write_smallnorb
from PIL import Image
from safetensors.torch import save
from tiny_project import make_project, tiny_params, write_params

from tests.faults.result import Fault

if TYPE_CHECKING:
    from capsnet.networks.capsnet import CapsNet

LONGEST = 5.0  # seconds of computing for one input, however busy the machine is
MOST_MEMORY = 64e6  # bytes for a small file
MANIFOLD = 1100  # for each byte of the file: zlib packs at most 1032 into one
PIXELS = 180_000_000  # of the largest picture that a folder may have
EACH_PIXEL = 8  # bytes
TRACED = 0.02  # share of the inputs whose allocations are traced, which is slow
DOCUMENTED = (ValueError, OSError)
PICTURES = ("PNG", "BMP", "GIF", "JPEG", "TIFF", "WEBP", "PPM")


class Reader(NamedTuple):
    """A reader, the path that it reads, and whole contents for it."""

    path: Path
    read: Callable[[Path], object]
    contents: tuple[bytes, ...]
    pack: Callable[[bytes], bytes] = bytes  # makes a file of a content that was damaged before
    most: float = MOST_MEMORY  # bytes for the smallest file
    manifold: int = MANIFOLD  # bytes more for each byte of a file

    def bound(self, size: int) -> float:
        """Return the most memory that a file of this size may cost, in bytes."""
        return self.most + self.manifold * size


def damaged_inputs(folder: Path, count: int, seed: int) -> Iterator[Fault]:
    """Give each reader its share of `count` damaged files. Yields a row for each reader."""
    readers = _readers(folder)
    share = -(-count // len(readers))
    for name, reader in readers.items():
        yield _damage(name, reader, share, seed)


def _damage(name: str, reader: Reader, count: int, seed: int) -> Fault:
    draw = random.Random(f"{seed} {name}")
    earlier = reader.path.read_bytes()
    slowest, most, refused, bad = 0.0, 0, 0, set()
    for content in reader.contents:  # whole, each is read: otherwise it would prove nothing
        reader.path.write_bytes(reader.pack(content))
        reader.read(reader.path)
    for _ in range(count):
        content = reader.pack(damaged(draw.choice(reader.contents), draw))
        reader.path.write_bytes(content)
        traced = draw.random() < TRACED
        if traced:
            tracemalloc.start()
        resident = _reset_peak()
        began = time.process_time()
        try:
            reader.read(reader.path)
        except DOCUMENTED as error:
            refused += 1
            if "\n" in str(error) and name != "params.yaml":
                bad.add("a message of several lines")
        except Exception as error:
            bad.add(f"{type(error).__name__}: {str(error)[:60]}")
        slowest = max(slowest, time.process_time() - began)
        peak = _memory("VmHWM") - resident
        if traced:
            peak = max(peak, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        most = max(most, peak)
        if peak > reader.bound(len(content)):
            bad.add(f"{peak / 1e6:.0f} MB for {len(content)} bytes")
    reader.path.write_bytes(earlier)
    if slowest > LONGEST:
        bad.add(f"{slowest:.0f} s for one file")
    return Fault(
        f"damaged: {name}",
        count,
        f"{refused} refused in one line, the others read; at most {slowest:.1f} s and {most / 1e6:.0f} MB for one",
        "; ".join(sorted(bad)) or "nothing",
        "tests/faults/test_faults_in_small.py",
    )


def _reset_peak() -> int:
    """Let the peak of this process's memory begin anew, where Linux allows it; return the memory in use, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    """Return an entry of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split(f"{name}:")[1].split()[0])


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Return a file with bits flipped, parts cut, doubled, overwritten or inserted."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        where = draw.randrange(len(changed) + 1)
        length = draw.choice((1, 1, 2, 4, 8, 64))
        match draw.randrange(6):
            case 0 if where < len(changed):
                changed[where] ^= 1 << draw.randrange(8)
            case 1:
                del changed[where:]
            case 2:
                del changed[where : where + length]
            case 3:
                changed[where:where] = changed[where : where + length]
            case 4:
                changed[where : where + length] = draw.randbytes(length)
            case _:
                changed[where:where] = draw.choice((b"\0" * length, b"\xff" * length, b"9" * length, b"[" * length))
    return bytes(changed)


def _readers(folder: Path) -> dict[str, Reader]:
    from capsnet.data.arrays import read_arrays
    from capsnet.networks.saved import load
    from capsnet.sources import folder as pictures
    from capsnet.sources import mnist, smallnorb
    from capsnet.sources.folder import EACH_BYTE
    from capsnet.sources.idx import read_idx
    from capsnet.training.checkpoint import STATE, load_state, save_state
    from pipeline.settings.params import load_params

    make_project(folder)
    write_params(folder, tiny_params())
    for name in ("idx", "norb", "data"):
        (folder / name).mkdir(parents=True)
    write_idx(folder / "idx")
    write_smallnorb(folder / "norb")
    state, model = folder / "state.safetensors", folder / "model.safetensors"
    tensors, history = {"w": torch.arange(64.0)}, [{"epoch": 1, "train_loss": 0.5}]
    save_state(state, tensors, {"seed": 0}, history)
    network = _network()
    _save_model(model, network)
    picture = folder / "1.png"
    photos = tuple(_picture(format) for format in PICTURES)
    picture.write_bytes(photos[0])
    manifest = folder / "data/toy.json"
    manifest.write_text(_manifest(), encoding="utf-8")
    labels, cat = folder / "idx" / mnist.FILES[1].name, folder / "norb" / smallnorb.FILES[1].name
    arrays, params = folder / "squares.npz", folder / "params.yaml"

    rows = matrix(np.arange(24, dtype=np.int32) % 5)

    def read_matrix(path: Path, content: bytes | None = None) -> object:
        """Read a matrix with its checksum, or that of another content, among the official ones."""
        official = {path.name: hashlib.md5(content or gzip.decompress(path.read_bytes())).hexdigest()}
        with patch.dict(smallnorb.UNPACKED, official):
            return smallnorb.read_matrix(path, smallnorb.INTEGERS, ())

    def read_state(path: Path) -> object:
        return load_state(path, {"seed": 0})

    def packed(array: bytes) -> bytes:
        return _zip(arrays_in | {"train_images.npy": array})

    with zipfile.ZipFile(arrays) as file:
        arrays_in = {name: file.read(name) for name in file.namelist()}
    settings = json.dumps(header_of(network)).encode()
    header = json.dumps({"kind": STATE, "belongs_to": {"seed": 0}, "history": history}).encode()
    numbers = np.arange(20, dtype=np.uint8) % 10
    return {
        "IDX": Reader(labels, read_idx, (labels.read_bytes(),)),
        "IDX before it was packed": Reader(labels, read_idx, (idx(numbers),), gzip.compress),
        "binary matrix": Reader(cat, lambda path: read_matrix(path, rows), (gzip.compress(rows),)),
        "binary matrix before it was packed": Reader(cat, read_matrix, (rows,), gzip.compress),
        "npz": Reader(arrays, read_arrays, (arrays.read_bytes(),)),
        "an array before it was packed as npz": Reader(arrays, read_arrays, (arrays_in["train_images.npy"],), packed),
        "json beside prepared images": Reader(manifest, _read_manifest, (manifest.read_bytes(),)),
        "a picture of a folder": Reader(
            picture, lambda path: pictures.load_picture(path, 20, 1), photos, most=EACH_PIXEL * PIXELS
        ),
        "a picture for predict": Reader(picture, _predicted, photos, manifold=EACH_PIXEL * EACH_BYTE),
        "model": Reader(model, load, (model.read_bytes(),)),
        "header of a model without a checksum": Reader(
            model, load, (settings,), lambda text: _tensors(network.state_dict(), text)
        ),
        "checkpoint": Reader(state, read_state, (state.read_bytes(),)),
        "header of a checkpoint without a checksum": Reader(
            state, read_state, (header,), lambda text: _tensors(tensors, text)
        ),
        "params.yaml": Reader(params, load_params, (params.read_bytes(),)),
    }


def _read_manifest(path: Path) -> object:
    from pipeline.runtime import prepared

    earlier, prepared.DATA = prepared.DATA, path.parent
    try:
        return prepared.read_manifest("toy")
    finally:
        prepared.DATA = earlier


def _manifest() -> str:
    return json.dumps(
        {
            **{"dataset": "toy", "source": "x", "note": "", "image_size": 20, "channels": 1, "classes": 3},
            **{"class_names": ["a", "b", "c"], "train": 48, "test": 12},
        },
        indent=2,
    )


def _picture(format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(file, format)
    return file.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def _tensors(tensors: dict[str, torch.Tensor], header: bytes) -> bytes:
    """Return a file of tensors with this text as its header."""
    from capsnet.tensors import HEADER

    return save(tensors, {HEADER: header.decode("utf-8", errors="replace")})


def _predicted(path: Path) -> object:
    from capsnet.data.picture import WRITINGS, digit, scene
    from capsnet.sources.folder import open_picture

    opened = open_picture(path).picture
    return scene(opened, 20, 1), digit(opened, WRITINGS["mnist"], 20)


def _network() -> "CapsNet":
    from capsnet.networks.capsnet import CapsNet
    from pipeline.settings.params import check_run

    return CapsNet(check_run(tiny_params()["runs"]["toy-fc"], "toy-fc").model(20, 1, 3))


def _save_model(path: Path, network: "CapsNet") -> None:
    from capsnet.networks.saved import save_model

    save_model(path, network, {"run": "toy-fc", "seed": 0})
