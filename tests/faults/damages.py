"""Damaged inputs to every reader: only documented errors, in bounded time and memory."""

import io
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from official_files import write_idx, write_smallnorb
from PIL import Image
from tiny_project import make_project, tiny_params, write_params

from tests.faults.result import Fault

LONGEST = 5.0  # seconds for one input
MOST_MEMORY = 64e6  # bytes, and MANIFOLD times the size of the file
MANIFOLD = 1100
DOCUMENTED = (ValueError, OSError)


class Reader(NamedTuple):
    """A reader, and a whole file for it."""

    path: Path
    read: Callable[[Path], object]


def damaged_inputs(folder: Path, count: int, seed: int) -> list[Fault]:
    """Give each reader its share of `count` damaged files. Returns a row for each reader."""
    readers = _readers(folder)
    share = -(-count // len(readers))
    return [_damage(name, reader, share, seed) for name, reader in readers.items()]


def _damage(name: str, reader: Reader, count: int, seed: int) -> Fault:
    draw = random.Random(f"{seed} {name}")
    whole = reader.path.read_bytes()
    slowest, most, refused, bad = 0.0, 0, 0, set()
    for _ in range(count):
        content = damaged(whole, draw)
        reader.path.write_bytes(content)
        measure = draw.random() < 0.02  # measuring slows each allocation down
        if measure:
            tracemalloc.start()
        began = time.perf_counter()
        try:
            reader.read(reader.path)
        except DOCUMENTED as error:
            refused += 1
            if "\n" in str(error) and name != "params.yaml":
                bad.add("a message of several lines")
        except Exception as error:
            bad.add(f"{type(error).__name__}: {str(error)[:60]}")
        slowest = max(slowest, time.perf_counter() - began)
        if measure:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            most = max(most, peak)
            if peak > MOST_MEMORY + MANIFOLD * len(content):
                bad.add(f"{peak / 1e6:.0f} MB for {len(content)} bytes")
    reader.path.write_bytes(whole)
    if slowest > LONGEST:
        bad.add(f"{slowest:.0f} s for one file")
    return Fault(
        f"a damaged file: {name}",
        count,
        f"{refused} refused in one line; at most {slowest:.1f} s and {most / 1e6:.0f} MB",
        "; ".join(sorted(bad)) or "nothing",
        "tests.faults.damages",
    )


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
    from capsnet.sources.idx import read_idx
    from capsnet.training.checkpoint import load_state, save_state
    from pipeline.runtime.prepared import read_manifest
    from pipeline.settings.params import load_params

    make_project(folder)
    write_params(folder, tiny_params())
    for name in ("idx", "norb", "own/train/a", "data"):
        (folder / name).mkdir(parents=True)
    write_idx(folder / "idx")
    write_smallnorb(folder / "norb")
    state, model, picture = folder / "state.safetensors", folder / "model.safetensors", folder / "own/train/a/1.png"
    save_state(state, {"w": torch.arange(64.0)}, {"seed": 0}, [{"epoch": 1, "train_loss": 0.5}])
    _save_model(model)
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(picture)
    manifest = {
        **{"dataset": "toy", "source": "x", "note": "", "image_size": 20, "channels": 1, "classes": 3},
        **{"class_names": ["a", "b", "c"], "train": 48, "test": 12},
    }
    (folder / "data/toy.json").write_text(_json(manifest))
    cat = folder / "norb" / smallnorb.FILES[1].name

    def manifest_of(path: Path) -> object:
        from pipeline.runtime import prepared

        earlier, prepared.DATA = prepared.DATA, path.parent
        try:
            return read_manifest("toy")
        finally:
            prepared.DATA = earlier

    return {
        "IDX": Reader(folder / "idx" / mnist.FILES[1].name, read_idx),
        "binary matrix": Reader(cat, lambda path: smallnorb.read_matrix(path, smallnorb.INTEGERS, ())),
        "npz": Reader(folder / "squares.npz", read_arrays),
        "json": Reader(folder / "data/toy.json", manifest_of),
        "a picture of a folder": Reader(picture, lambda path: pictures.load(path, 20, 1)),
        "a picture for predict": Reader(picture, _predicted),
        "model": Reader(model, load),
        "checkpoint": Reader(state, lambda path: load_state(path, {"seed": 0})),
        "params.yaml": Reader(folder / "params.yaml", load_params),
    }


def _predicted(path: Path) -> object:
    from capsnet.data.picture import WRITINGS, digit, scene
    from capsnet.sources.folder import open_picture

    opened = open_picture(path).picture
    return scene(opened, 20, 1), digit(opened, WRITINGS["mnist"], 20)


def _save_model(path: Path) -> None:
    from capsnet.networks.capsnet import CapsNet
    from capsnet.networks.saved import save_model
    from pipeline.settings.params import check_run

    run = check_run(tiny_params()["runs"]["toy-fc"], "toy-fc")
    save_model(path, CapsNet(run.model(20, 1, 3)), {"run": "toy-fc", "seed": 0})


def _json(values: dict[str, Any]) -> str:
    import json

    text = io.StringIO()
    json.dump(values, text, indent=2)
    return text.getvalue()
