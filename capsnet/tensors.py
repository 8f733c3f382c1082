"""Files of tensors: safetensors with one JSON header and a checksum. No pickle; equal content gives equal bytes.

A file is not trusted: header and tensors are compared with the checksum when they are read. Files written before
the checksum was introduced have none, and are read without that comparison.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from capsnet.files import write_whole

HEADER = "capsnet"  # one entry holds the whole header: safetensors does not promise an order of several entries
CHECKSUM = "sha256"  # of the rest of the header and of the tensors


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    *,
    before_replacing: Callable[[], None] = lambda: None,
) -> None:
    """Write tensors and a JSON header to `path`, whole or not at all; `header["kind"]` names the kind of file.

    `before_replacing` is called when the new file is on the disk, and before it replaces an earlier one.
    """
    on_the_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checked = {**header, CHECKSUM: _checksum(header, on_the_cpu)}
    write_whole(path, save(on_the_cpu, {HEADER: json.dumps(checked)}), before_replacing=before_replacing)


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors of a file of this `kind`.

    Raises ValueError if the file is of another kind or damaged, FileNotFoundError if it does not exist.
    """
    with _open(path) as file:
        header = _header(path, file, kind)
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, AttributeError, RuntimeError, TypeError) as error:
            raise ValueError(f"{path}: tensors that cannot be read ({error})") from error
    written = header.pop(CHECKSUM, None)
    if written is not None and written != _checksum(header, tensors):
        raise ValueError(f"{path}: damaged: its content has another checksum than its header says; copy it again")
    return header, tensors


def read_header(path: Path, kind: str) -> dict[str, Any]:
    """Read the header alone, without comparing the checksum. Raises like `read_tensors`."""
    with _open(path) as file:
        return _header(path, file, kind)


def shape_and_type(tensor: Tensor) -> str:
    """Describe a tensor, as in "(3, 4) float32"."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {shape_and_type(tensor)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _open(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error}); nothing else is loaded") from error


def _header(path: Path, file: Any, kind: str) -> dict[str, Any]:
    try:
        header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: header damaged ({error})") from error
    got = header.get("kind") if isinstance(header, dict) else None
    if got != kind:
        raise ValueError(f"{path}: got {got or 'a foreign safetensors file'!r}, expected a capsnet {kind}")
    return dict(header)
