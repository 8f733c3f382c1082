"""Models and training states in safetensors files: tensors and one JSON header, no pickle, equal content equal bytes.

A model file holds the weights and the architecture; a training state holds, besides, the optimiser and the history, and
says which configuration and seed it belongs to.

Nothing that a file says of itself is believed: the architecture is checked value by value and against the shapes of the
weights before any of it is allocated, and weights and header against a checksum. Files without one are older than it.
"""

import hashlib
import json
import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from capsnet.files import write_whole
from capsnet.networks.capsnet import NETWORKS, CapsNet, NetworkConfig

# All of the header is one entry: safetensors does not promise an order of several.
HEADER = "capsnet"
MODEL = "model"
STATE = "training state"
CHECKSUM = "sha256"  # of everything else in the header, and of the tensors
MOST = 2**31 - 1
LONGEST = 50  # letters of a choice
HALVES = (torch.bfloat16, torch.float16)

Described = TypeVar("Described")
Module = TypeVar("Module", bound=nn.Module)


def save_model(path: Path, model: CapsNet, facts: Mapping[str, Any]) -> None:
    """Write weights, architecture and `facts`, whatever JSON can hold, to `path`: whole or not at all."""
    config = {"network": model.config.network, **asdict(model.config)}
    write_tensors(path, model.state_dict(), {"kind": MODEL, "config": config, **facts})


def load(path: str | Path) -> CapsNet:
    """Read a model file onto the CPU, in evaluation mode.

    Raises ValueError for anything that is not a model file of this library, or is damaged, FileNotFoundError if there
    is none.
    """
    header, tensors = read_tensors(Path(path), MODEL)
    try:
        config = _config(header.get("config"), len(tensors))
    except ValueError as error:
        raise ValueError(f"{path}: damaged, or of another version of capsnet: config: {error}") from error
    return with_weights(lambda: CapsNet(config), tensors, path)


def described(kind: type[Described], values: Any, longest: int) -> Described:
    """Return the configuration, a dataclass, that a header describes; no list in it has more than `longest` entries.

    Each value is what params.yaml would take: whole numbers are at least 1, others finite and not negative. Raises
    ValueError naming what is not so, or what the configuration itself refuses.
    """
    if not isinstance(values, dict):
        raise ValueError(f"got {reprlib.repr(values)}, expected settings by name")
    types = {field.name: get_type_hints(kind)[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    if odd := sorted(types.keys() ^ values.keys()):
        raise ValueError(f"{reprlib.repr(odd[0])}: {'missing' if odd[0] in types else 'unknown'}")
    settings = {}
    for name, value in values.items():
        expected, holds, make = _FORMS[types[name]]
        if not holds(value) or (isinstance(value, list) and len(value) > longest):
            raise ValueError(f"{name}: got {reprlib.repr(value)}, expected {expected}")
        settings[name] = make(value)
    return kind(**settings)


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST


# For each type of a setting what JSON has to hold, how to tell, and what becomes of it.
_FORMS: dict[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    int: (f"a whole number from 1 to {MOST}", _is_count, int),
    float: (
        "a finite number that is not negative",
        lambda value: type(value) in (int, float) and 0 <= value <= sys.float_info.max,
        float,
    ),
    bool: ("true or false", lambda value: isinstance(value, bool), bool),
    str: ("a word", lambda value: isinstance(value, str) and len(value) <= LONGEST, str),
    tuple[int, ...]: (
        f"whole numbers from 1 to {MOST}, no more of them than there are weights",
        lambda value: isinstance(value, list) and all(map(_is_count, value)),
        tuple,
    ),
}


def with_weights(build: Callable[[], Module], tensors: Mapping[str, Tensor], path: str | Path) -> Module:
    """Return the module that `build` makes, with these weights, in evaluation mode.

    It is built without memory first. Raises ValueError if its weights have other names, shapes or types; weights in
    half precision are widened.
    """
    try:
        with torch.device("meta"), _Unfilled():
            expected = build().state_dict()
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{path}: an architecture that cannot be built: {str(error).splitlines()[0]}") from error
    for name in sorted(expected.keys() | tensors.keys()):
        if not _fits(tensors.get(name), expected.get(name)):
            got, wanted = (_form(each.get(name)) for each in (tensors, expected))
            raise ValueError(
                f"{path}: weights do not fit the architecture in the header: {reprlib.repr(name)}: got {got}, "
                f"expected {wanted}"
            )
        if not tensors[name].isfinite().all():
            raise ValueError(f"{path}: {name}: got weights that are not finite, expected numbers")
    with torch.random.fork_rng(devices=[]):  # for the initial weights, which are replaced
        module = build()
    module.load_state_dict(tensors)
    return module.eval()


class _Unfilled(TorchFunctionMode):
    """Leaves out what draws a tensor's values: without memory there are none, and to know that torch takes seconds."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if function is Tensor.normal_ else function(*args, **(kwargs or {}))


def _fits(tensor: Tensor | None, wanted: Tensor | None) -> bool:
    if tensor is None or wanted is None or tensor.shape != wanted.shape:
        return False
    return tensor.dtype == wanted.dtype or (wanted.is_floating_point() and tensor.dtype in HALVES)


def _form(tensor: Tensor | None) -> str:
    return "none" if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _config(values: Any, longest: int) -> NetworkConfig:
    """Return the architecture in a header; one that names no network is older than the second."""
    if not isinstance(values, dict):
        raise ValueError(f"got {reprlib.repr(values)}, expected settings by name")
    network = values.get("network", "dynamic")
    if not isinstance(network, str) or network not in NETWORKS:
        raise ValueError(f"network: got {reprlib.repr(network)}, expected one of {', '.join(NETWORKS)}")
    return described(NETWORKS[network], {name: value for name, value in values.items() if name != "network"}, longest)


def read_facts(path: Path) -> dict[str, Any]:
    """Return the header of a model file: `config` and the facts it was saved with. Raises like `load`."""
    with _open(path) as file:
        return _header(path, file, MODEL)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a model was trained with. Raises like `load`, and ValueError if there are none."""
    settings = read_facts(path).get("settings")
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: settings: got {reprlib.repr(settings)}, expected those of a run by name")
    return settings


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
    if not isinstance(header.get("belongs_to"), dict):
        raise ValueError(f"{path}: belongs_to: got {reprlib.repr(header.get('belongs_to'))}, expected a configuration")
    ours = json.loads(json.dumps(belongs_to))
    theirs = header["belongs_to"]
    for key in sorted(ours.keys() | theirs.keys()):
        grown = key == "epochs" and ours.get(key, 0) >= theirs.get(key, 0)
        if ours.get(key) != theirs.get(key) and not grown:
            raise ValueError(
                f"{path}: checkpoint of another configuration: "
                f"{key}: got {theirs.get(key)!r}, expected {ours.get(key)!r}"
            )
    return tensors, _history(path, header)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the history rows in a training state. Raises ValueError if it is none."""
    with _open(path) as file:
        return _history(path, _header(path, file, STATE))


def _history(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    history = header.get("history")
    if not (isinstance(history, list) and all(isinstance(row, dict) for row in history)):
        raise ValueError(f"{path}: history: got {reprlib.repr(history)}, expected a row an epoch")
    return history


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a header, whose `kind` says what they are, whole or not at all."""
    on_the_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checked = {**header, CHECKSUM: _checksum(header, on_the_cpu)}
    write_whole(path, save(on_the_cpu, {HEADER: json.dumps(checked)}))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors of a file of this `kind`. Raises ValueError if it is none, or is damaged."""
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


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {_form(tensor)}".encode())
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
