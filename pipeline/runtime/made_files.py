"""Files that a stage made: if one is not there or damaged, the error names the command that makes it."""

import json
from pathlib import Path
from typing import Any


def existing(path: Path, command: str) -> Path:
    """Return the path of a file. Raises FileNotFoundError naming the command that makes it if it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `{command}` makes it")
    return path


def read_json(path: Path, command: str) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises FileNotFoundError if the file is not there, and ValueError if it is not JSON, both naming the command that
    makes it.
    """
    text = existing(path, command).read_text(encoding="utf-8")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); `{command}` makes it anew") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: got {type(values).__name__}, expected an object; `{command}` makes it anew")
    return values
