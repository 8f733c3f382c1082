"""A data set of the user's as a file."""

from pathlib import Path

import numpy as np

Contents = dict[str, np.ndarray]


def saved(folder: Path, contents: Contents) -> Path:
    path = folder / "own.npz"
    np.savez(path, **contents)
    return path
