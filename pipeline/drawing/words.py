"""Words that captions share."""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple


class Stretch(NamedTuple):
    """Neighbouring places on a circle, from `first` to `last`, that hold the same value."""

    value: int
    first: int
    last: int


def stretches(values: Sequence[int]) -> list[Stretch]:
    """Divide a circle of values into stretches of equal values, in order; the first stretch holds place 0.

    If that stretch begins before place 0, its `first` is greater than its `last`.
    """
    runs = [list(run) for _, run in groupby(range(len(values)), values.__getitem__)]
    if len(runs) > 1 and values[0] == values[-1]:
        runs[0] = runs.pop() + runs[0]
    return [Stretch(values[run[0]], run[0], run[-1]) for run in runs]


def listed(words: Iterable[str]) -> str:
    """Join words as in a sentence: a, b and c."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 seed, 3 seeds."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def signed(value: float, places: int = 2) -> str:
    """Return a number with its sign, a minus in place of a hyphen; "unknown" if there is none."""
    return "unknown" if math.isnan(value) else f"{value:+.{places}f}".replace("-", "−")
