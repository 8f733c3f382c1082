"""Data sets in params.yaml of the tiny project."""

from pathlib import Path
from typing import Any

from tiny_project import tiny_params, write_params


def with_dataset(project: Path, name: str, **entry: Any) -> None:
    params = tiny_params()
    params["datasets"][name] = entry
    write_params(project, params)
