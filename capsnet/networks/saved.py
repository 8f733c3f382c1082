"""Model files: the weights of a network and its architecture.

A file is not trusted. Before memory is allocated, each value of its architecture is checked, and the architecture is
compared with the shapes of the weights.
"""

import reprlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from capsnet.networks.capsnet import NETWORKS, CapsNet, NetworkConfig
from capsnet.tensors import read_header, read_tensors, shape_and_type, write_tensors

MODEL = "model"
LARGEST_NUMBER = 2**31 - 1
LONGEST_WORD = 50  # letters
HALF_PRECISION = (torch.bfloat16, torch.float16)

Described = TypeVar("Described")
Module = TypeVar("Module", bound=nn.Module)


def save_model(path: Path, model: CapsNet, facts: Mapping[str, Any]) -> None:
    """Write weights, architecture and further `facts` (JSON values) to `path`, whole or not at all."""
    config = {"network": model.config.network, **asdict(model.config)}
    write_tensors(path, model.state_dict(), {"kind": MODEL, "config": config, **facts})


def load(path: str | Path) -> CapsNet:
    """Read a model file onto the CPU, in evaluation mode.

    Raises ValueError if the file is no model file of this library or is damaged, FileNotFoundError if it does not
    exist.
    """
    header, tensors = read_tensors(Path(path), MODEL)
    try:
        config = _architecture(header.get("config"), len(tensors))
    except ValueError as error:
        raise ValueError(f"{path}: damaged, or of another version of capsnet: config: {error}") from error
    return with_weights(lambda: CapsNet(config), tensors, path)


def read_facts(path: Path) -> dict[str, Any]:
    """Return the header of a model file: `config`, and the facts that it was saved with. Raises like `load`."""
    return read_header(path, MODEL)


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings that a model was trained with. Raises like `load`, and ValueError if there are none."""
    settings = read_facts(path).get("settings")
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: settings: got {reprlib.repr(settings)}, expected those of a run by name")
    return settings


def _architecture(values: Any, longest: int) -> NetworkConfig:
    """Return the configuration in a header. A header without `network` was written when there was only one network."""
    if not isinstance(values, dict):
        raise ValueError(f"got {reprlib.repr(values)}, expected settings by name")
    network = values.get("network", "dynamic")
    if not isinstance(network, str) or network not in NETWORKS:
        raise ValueError(f"network: got {reprlib.repr(network)}, expected one of {', '.join(NETWORKS)}")
    return described(NETWORKS[network], {name: value for name, value in values.items() if name != "network"}, longest)


def described(kind: type[Described], values: Any, longest: int) -> Described:
    """Return the dataclass `kind` with the values of a header; no list among them has more than `longest` entries.

    Whole numbers are at least 1; other numbers are finite and not negative. Raises ValueError naming the value that is
    missing, unknown or wrong, and whatever ValueError the dataclass itself raises.
    """
    if not isinstance(values, dict):
        raise ValueError(f"got {reprlib.repr(values)}, expected settings by name")
    types = {field.name: get_type_hints(kind)[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    if odd := sorted(types.keys() ^ values.keys()):
        raise ValueError(f"{reprlib.repr(odd[0])}: {'missing' if odd[0] in types else 'unknown'}")
    settings = {}
    for name, value in values.items():
        form = _FORMS[types[name]]
        if not form.accepts(value) or (isinstance(value, list) and len(value) > longest):
            raise ValueError(f"{name}: got {reprlib.repr(value)}, expected {form.expected}")
        settings[name] = form.convert(value)
    return kind(**settings)


class _Form(NamedTuple):
    """How the value of a setting of one type is written in JSON."""

    expected: str  # in words
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any]


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_NUMBER


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max  # type: ignore[operator]


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_WORD


def _is_list_of_counts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


_FORMS: dict[Any, _Form] = {
    int: _Form(f"a whole number from 1 to {LARGEST_NUMBER}", _is_count, int),
    float: _Form("a finite number that is not negative", _is_number, float),
    bool: _Form("true or false", _is_flag, bool),
    str: _Form("a word", _is_word, str),
    tuple[int, ...]: _Form(
        f"whole numbers from 1 to {LARGEST_NUMBER}, no more of them than there are weights", _is_list_of_counts, tuple
    ),
}


def with_weights(build: Callable[[], Module], tensors: Mapping[str, Tensor], path: str | Path) -> Module:
    """Return the module that `build` makes, with these weights, in evaluation mode; half precision is widened.

    The module is built without memory first. Raises ValueError if its weights have other names, shapes or types than
    `tensors`, or if a weight is not finite; `path` is named in the message.
    """
    try:
        with torch.device("meta"), _WithoutRandomValues():
            expected = build().state_dict()
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{path}: an architecture that cannot be built: {str(error).splitlines()[0]}") from error
    for name in sorted(expected.keys() | tensors.keys()):
        if not _fits(tensors.get(name), expected.get(name)):
            got, wanted = (
                shape_and_type(each[name]) if name in each else "none" for each in (dict(tensors), dict(expected))
            )
            raise ValueError(
                f"{path}: weights do not fit the architecture in the header: {reprlib.repr(name)}: got {got}, "
                f"expected {wanted}"
            )
        if not tensors[name].isfinite().all():
            raise ValueError(f"{path}: {name}: got weights that are not finite, expected numbers")
    with torch.random.fork_rng(devices=[]):  # building draws initial weights, which are replaced
        module = build()
    module.load_state_dict(tensors)
    return module.eval()


class _WithoutRandomValues(TorchFunctionMode):
    """Skips drawing normal numbers: tensors on the meta device have no values, and torch takes seconds to skip them."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if function is Tensor.normal_ else function(*args, **(kwargs or {}))


def _fits(tensor: Tensor | None, expected: Tensor | None) -> bool:
    if tensor is None or expected is None or tensor.shape != expected.shape:
        return False
    return tensor.dtype == expected.dtype or (expected.is_floating_point() and tensor.dtype in HALF_PRECISION)
