"""Training states: what an interrupted training needs to continue to the same bytes.

A state file holds the tensors of network and optimiser, the history so far, and the configuration and seed that it
belongs to.
"""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from capsnet.tensors import read_header, read_tensors, write_tensors

STATE = "training state"


def save_state(
    path: Path, tensors: Mapping[str, Tensor], belongs_to: Mapping[str, Any], history: list[dict[str, Any]]
) -> None:
    """Write a training state. If that fails with OSError (full disk), the previous state at `path` stays whole."""
    write_tensors(path, tensors, {"kind": STATE, "belongs_to": belongs_to, "history": history})


def load_state(path: Path, belongs_to: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Read the tensors and the history of a training state.

    Raises ValueError if the file is no training state, or belongs to another configuration than `belongs_to`. The
    number of epochs may be larger than in the state: that is how a finished training is continued.
    """
    header, tensors = read_tensors(path, STATE)
    if not isinstance(header.get("belongs_to"), dict):
        raise ValueError(f"{path}: belongs_to: got {reprlib.repr(header.get('belongs_to'))}, expected a configuration")
    ours = json.loads(json.dumps(belongs_to))
    theirs = header["belongs_to"]
    for key in sorted(ours.keys() | theirs.keys()):
        more_epochs = key == "epochs" and ours.get(key, 0) >= theirs.get(key, 0)
        if ours.get(key) != theirs.get(key) and not more_epochs:
            raise ValueError(
                f"{path}: checkpoint of another configuration: "
                f"{key}: got {theirs.get(key)!r}, expected {ours.get(key)!r}"
            )
    return tensors, _history(path, header)


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the history rows in a training state. Raises ValueError if the file is no training state."""
    return _history(path, read_header(path, STATE))


def _history(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    history = header.get("history")
    if not (isinstance(history, list) and all(isinstance(row, dict) for row in history)):
        raise ValueError(f"{path}: history: got {reprlib.repr(history)}, expected one row for each epoch")
    return history
