"""What differs between two trainings, or between their scores: the first of it, or nothing.

Equal means to the byte: of tensors the bytes, of history rows the text, of scores the text of JSON.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

SETTINGS = "settings"  # of metrics: those that there were must be equal, new ones may be there


def of_tensors(then: Path, now: Path) -> str:
    """Compare two safetensors files."""
    theirs, ours = _tensors(then), _tensors(now)
    if alone := sorted(theirs.keys() ^ ours.keys()):
        return f"{alone[0]}: only {'then' if alone[0] in theirs else 'now'}"
    return next((found for name in theirs if (found := _of_tensor(name, theirs[name], ours[name]))), "")


def of_rows(then: Path, now: Path, key: str) -> str:
    """Compare two CSV files, row by row; `key` is the column that says which row it is."""
    theirs, ours = _rows(then), _rows(now)
    if theirs and ours and [*theirs[0]] != [*ours[0]]:
        return f"{then.name}: columns: got {', '.join(ours[0])}, expected {', '.join(theirs[0])}"
    for mine, other in zip(ours, theirs, strict=False):
        for column, expected in other.items():
            if mine[column] != expected:
                return f"{key} {other[key]}: {column}: got {mine[column]}, expected {expected}"
    return "" if len(theirs) == len(ours) else f"{then.name}: got {len(ours)} rows, expected {len(theirs)}"


def of_metrics(then: Path, now: Path) -> str:
    """Compare two files of metrics."""
    theirs, ours = (json.loads(path.read_text(encoding="utf-8")) for path in (then, now))
    there = ours.get(SETTINGS, {})
    ours[SETTINGS] = {name: there[name] for name in theirs.get(SETTINGS, {}) if name in there}
    return _of_values(theirs, ours, "")


def number_of_steps(state: Path) -> int:
    """Return how many steps led to a training state, as its optimiser counted them."""
    return max(int(tensor) for name, tensor in _tensors(state).items() if name.endswith(".step"))


def number_of_tensors(state: Path) -> int:
    """Return how many tensors a training state holds."""
    return len(_tensors(state))


def _of_tensor(name: str, theirs: "Tensor", ours: "Tensor") -> str:
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


def _of_values(theirs: Any, ours: Any, place: str) -> str:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        if alone := sorted(theirs.keys() ^ ours.keys()):
            return f"{place}{alone[0]}: only {'then' if alone[0] in theirs else 'now'}"
        return next((found for key in theirs if (found := _of_values(theirs[key], ours[key], f"{place}{key}."))), "")
    got, expected = json.dumps(ours), json.dumps(theirs)
    return "" if got == expected else f"{place.removesuffix('.')}: got {got}, expected {expected}"


def _tensors(path: Path) -> "dict[str, Tensor]":
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
