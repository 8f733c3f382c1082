"""Models and training states in safetensors files: tensors and one JSON header, no pickle, equal content equal bytes.

A model file holds the weights and the architecture; a training state holds, besides, the optimiser and the history, and
says which configuration and seed it belongs to.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from capsnet.files import write_whole
from capsnet.model import NETWORKS, CapsNet, NetworkConfig

# All of the header is one entry: safetensors does not promise an order of several.
HEADER = "capsnet"
MODEL = "model"
STATE = "training state"


def save_model(path: Path, model: CapsNet, facts: Mapping[str, Any]) -> None:
    """Write weights, architecture and `facts`, whatever JSON can hold, to `path`: whole or not at all."""
    config = {"network": model.config.network, **asdict(model.config)}
    write_tensors(path, model.state_dict(), {"kind": MODEL, "config": config, **facts})


def load(path: str | Path) -> CapsNet:
    """Read a model file onto the CPU, in evaluation mode.

    Raises ValueError for anything that is not a model file of this library, FileNotFoundError if there is none.
    """
    header, tensors = read_tensors(Path(path), MODEL)
    try:
        config = _config(header["config"])
        with torch.random.fork_rng(devices=[]):  # for the initial weights, which are replaced
            model = CapsNet(config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: written by another version of capsnet ({error!r})") from error
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path}: weights do not fit the architecture in the header: {error}") from error
    return model.eval()


def _config(values: dict[str, Any]) -> NetworkConfig:
    """Return the architecture in a header; one that names no network is older than the second."""
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return NETWORKS[settings.pop("network", "dynamic")](**settings)


def read_facts(path: Path) -> dict[str, Any]:
    """Return the header of a model file: `config` and the facts it was saved with. Raises like `load`."""
    with _open(path) as file:
        return _header(path, file, MODEL)


def save_state(
    path: Path, tensors: Mapping[str, Tensor], belongs_to: Mapping[str, Any], history: list[dict[str, Any]]
) -> None:
    """Write a training state; an OSError (a full disk, say) leaves the previous state at `path` whole."""
    write_tensors(path, tensors, {"kind": STATE, "belongs_to": belongs_to, "history": history})


def load_state(path: Path, belongs_to: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Read the tensors and the history of a training state.

    Raises ValueError if it is no training state, or one of another configuration than `belongs_to`; the number of
    epochs may have grown, for that is how a finished training is continued.
    """
    header, tensors = read_tensors(path, STATE)
    ours = json.loads(json.dumps(belongs_to))
    theirs = header["belongs_to"]
    for key in sorted(ours.keys() | theirs.keys()):
        grown = key == "epochs" and ours.get(key, 0) >= theirs.get(key, 0)
        if ours.get(key) != theirs.get(key) and not grown:
            raise ValueError(
                f"{path}: checkpoint of another configuration: "
                f"{key}: got {theirs.get(key)!r}, expected {ours.get(key)!r}"
            )
    return tensors, header["history"]


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the history rows in a training state. Raises ValueError if it is none."""
    with _open(path) as file:
        return list(_header(path, file, STATE)["history"])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a header, whose `kind` says what they are, whole or not at all."""
    on_the_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(on_the_cpu, {HEADER: json.dumps(header)}))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors of a file of this `kind`. Raises ValueError if it is none."""
    with _open(path) as file:
        header = _header(path, file, kind)
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)


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
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: header damaged ({error})") from error
    got = header.get("kind") if isinstance(header, dict) else None
    if got != kind:
        raise ValueError(f"{path}: got {got or 'a foreign safetensors file'!r}, expected a capsnet {kind}")
    return dict(header)
