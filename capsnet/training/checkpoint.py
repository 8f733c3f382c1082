"""Training states: what an interrupted training needs to continue to the same bytes.

A state file holds the tensors of network and optimiser, the history so far, and the configuration and seed that it
belongs to. A checksum covers all of it. The state before the newest one is kept beside it, in case that one is damaged.
"""

import json
import os
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from capsnet.tensors import CHECKSUM, read_header, read_tensors, write_tensors

STATE = "training state"
ENTRIES = frozenset({"kind", "belongs_to", "history"})  # of a header, beside the checksum


def save_state(
    path: Path, tensors: Mapping[str, Tensor], belongs_to: Mapping[str, Any], history: list[dict[str, Any]]
) -> None:
    """Write a training state, and keep the one that was at `path` as the previous state.

    If that fails with OSError (full disk), the state at `path` stays whole.
    """
    header = {"kind": STATE, "belongs_to": belongs_to, "history": history}
    write_tensors(path, tensors, header, before_replacing=lambda: _keep_previous(path))


def previous_state(path: Path) -> Path:
    """Return the path of the state that was written before the one at `path`."""
    return path.with_name(f"{path.name}.previous")


def newest_whole_state(path: Path, say: Callable[[str], None] | None) -> Path | None:
    """Return the newest whole state: that at `path`, or else the previous one, or None if neither is whole.

    Args:
        path: Where states of one training are written.
        say: Called with a message for each damaged file, which is then renamed to `<name>.damaged`. With None nothing
            is renamed: of several processes of one training, only one renames.
    """
    for state in (path, previous_state(path)):
        try:
            header, _ = read_tensors(state, STATE)
            _check_entries(state, header)
            _history(state, header)
        except FileNotFoundError:
            continue
        except ValueError as error:
            if say is not None:
                aside = state.with_name(f"{state.name}.damaged")
                with suppress(FileNotFoundError):
                    state.replace(aside)
                say(f"{error}; set aside as {aside.name}, and the training goes on from the state before it")
            continue
        return state
    return None


def _keep_previous(path: Path) -> None:
    """Give the state at `path` a second name. There is a whole state at `path` at any moment, if links are possible."""
    if not path.exists():  # the first state
        return
    previous = previous_state(path)
    previous.unlink(missing_ok=True)
    try:
        os.link(path, previous)
    except OSError:  # a file system without links
        path.replace(previous)


def load_state(path: Path, belongs_to: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Read the tensors and the history of a training state.

    Raises ValueError if the file is no training state, or belongs to another configuration than `belongs_to`. The
    number of epochs may be larger than in the state: that is how a finished training is continued.
    """
    header, tensors = read_tensors(path, STATE)
    _check_entries(path, header)
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


def _check_entries(path: Path, header: Mapping[str, Any]) -> None:
    """Raise ValueError for an entry that no state has: a damaged name of the checksum would hide the checksum."""
    if odd := sorted(header.keys() - ENTRIES - {CHECKSUM}):
        raise ValueError(f"{path}: damaged: {reprlib.repr(odd[0])} in its header is unknown")


def _history(path: Path, header: Mapping[str, Any]) -> list[dict[str, Any]]:
    history = header.get("history")
    if not (isinstance(history, list) and all(isinstance(row, dict) for row in history)):
        raise ValueError(f"{path}: history: got {reprlib.repr(history)}, expected one row for each epoch")
    return history
