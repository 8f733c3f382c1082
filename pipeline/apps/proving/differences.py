"""The first difference between two trainings, or their scores, in words. The text is empty if they are equal.

Equal means to the byte: tensors are compared by their bytes, history rows as text, scores as JSON text.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = "settings"  # in metrics: the old ones must be equal, new ones may be added


def tensor_difference(then: Path, now: Path) -> str:
    """Compare two safetensors files."""
    theirs, ours = _tensors(then), _tensors(now)
    if alone := sorted(theirs.keys() ^ ours.keys()):
        return f"{alone[0]}: only {'then' if alone[0] in theirs else 'now'}"
    return next((found for name in theirs if (found := _one_tensor(name, theirs[name], ours[name]))), "")


def row_difference(then: Path, now: Path, key: str) -> str:
    """Compare two CSV files, row by row; `key` is the column that names a row."""
    theirs, ours = _rows(then), _rows(now)
    if theirs and ours and [*theirs[0]] != [*ours[0]]:
        return f"{then.name}: columns: got {', '.join(ours[0])}, expected {', '.join(theirs[0])}"
    for mine, other in zip(ours, theirs, strict=False):
        for column, expected in other.items():
            if mine[column] != expected:
                return f"{key} {other[key]}: {column}: got {mine[column]}, expected {expected}"
    return "" if len(theirs) == len(ours) else f"{then.name}: got {len(ours)} rows, expected {len(theirs)}"


def metric_difference(then: Path, now: Path) -> str:
    """Compare two files of metrics."""
    theirs, ours = (json.loads(path.read_text(encoding="utf-8")) for path in (then, now))
    settings = ours.get(SETTINGS, {})
    ours[SETTINGS] = {name: settings[name] for name in theirs.get(SETTINGS, {}) if name in settings}
    return _values(theirs, ours, "")


def number_of_steps(state: Path) -> int:
    """Return the number of steps of a training state, as its optimiser counted them."""
    return max(int(tensor) for name, tensor in _tensors(state).items() if name.endswith(".step"))


def number_of_tensors(state: Path) -> int:
    """Return the number of tensors in a training state."""
    return len(_tensors(state))


def _one_tensor(name: str, theirs: "Tensor", ours: "Tensor") -> str:
    import torch

    if (theirs.dtype, theirs.shape) != (ours.dtype, ours.shape):
        return f"{name}: got {ours.dtype} {list(ours.shape)}, expected {theirs.dtype} {list(theirs.shape)}"
    size = theirs.element_size()
    mine, other = (each.contiguous().reshape(-1).view(torch.uint8).reshape(-1, size) for each in (ours, theirs))
    places = (mine != other).any(dim=1).nonzero().flatten()
    if len(places) == 0:
        return ""
    first = int(places[0])
    index = [int(each) for each in torch.unravel_index(places[0], theirs.shape)]
    got, expected = (each.reshape(-1)[first].item() for each in (ours, theirs))
    return f"{name}: {len(places)} of {len(mine)} values, first {index}: got {got!r}, expected {expected!r}"


def _values(theirs: Any, ours: Any, place: str) -> str:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        if alone := sorted(theirs.keys() ^ ours.keys()):
            return f"{place}{alone[0]}: only {'then' if alone[0] in theirs else 'now'}"
        return next((found for key in theirs if (found := _values(theirs[key], ours[key], f"{place}{key}."))), "")
    got, expected = json.dumps(ours), json.dumps(theirs)
    return "" if got == expected else f"{place.removesuffix('.')}: got {got}, expected {expected}"


def _tensors(path: Path) -> "dict[str, Tensor]":
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
