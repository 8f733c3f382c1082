"""How captions put findings into words."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple


class Stretch(NamedTuple):
    """Places after each other, from `first` to `last`, that hold the same value."""

    value: int
    first: int
    last: int


def stretches(values: Sequence[int]) -> list[Stretch]:
    """Cut a circle of values into stretches of equal ones, in order, the one that holds place 0 first.

    That one may begin before the place where the circle is closed: `first` is greater than `last` then.
    """
    runs = [list(run) for _, run in groupby(range(len(values)), values.__getitem__)]
    if len(runs) > 1 and values[0] == values[-1]:
        runs[0] = runs.pop() + runs[0]
    return [Stretch(values[run[0]], run[0], run[-1]) for run in runs]


def spans(found: Sequence[Stretch], degrees: Sequence[int]) -> str:
    """Say at which angles stretches lie: from 20° to 35° and at 60°."""
    return listed([_span(degrees[stretch.first], degrees[stretch.last]) for stretch in found])


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def counted(number: int, noun: str) -> str:
    """Say how many: 1 seed, 3 seeds."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _span(first: int, last: int) -> str:
    if first == last:
        return f"at {first}°"
    return f"from {first}°{' through 0°' if first > last > 0 else ''} to {last}°"
