"""Accuracy on the test images, all rotated by the same angle, from the counts that `rotate` wrote.

Axes: R seeds, A angles, J classes.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import BEHIND, COLOURS, GREY, PHONE, RIGHT, WRONG, plain_axes
from pipeline.drawing.subject import Subject, read_rotated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 10  # classes whose mistakes upside down are drawn
CLEAR = 6  # percent: a bar or a gap of at least this width has room for a name


class Counts(NamedTuple):
    """Confusion counts at each angle."""

    seeds: list[int]
    degrees: list[int]
    confusion: np.ndarray  # R A J J: images of class [row] that are predicted as class [column]

    @property
    def upside_down(self) -> int:
        """The place in `degrees` of the angle that is nearest to 180."""
        return int(np.abs(np.array(self.degrees) - 180).argmin())


def rotation_accuracy(subject: Subject) -> Drawing:
    """Draw the accuracy of all seeds and of each class by angle, and the most frequent mistakes upside down."""
    names = subject.test.manifest.class_names
    counts = as_counts(read_rotated(subject), len(names))
    numbers = pd.DataFrame(
        {"seed": seed, "degrees": degrees, **row}
        for seed, of_seed in zip(counts.seeds, counts.confusion, strict=True)
        for degrees, confusion in zip(counts.degrees, of_seed, strict=True)
        for row in _rows(confusion, names)
    )
    half = counts.degrees[counts.upside_down]
    number = len(counts.seeds)
    seeds = f"the mean of {number} seeds with their range" if number > 1 else "the only seed"
    caption = (
        f"Left: accuracy of {subject.label} on all test images, rotated counter-clockwise; the blue line is "
        f"{seeds}, each grey line a class. Right: at {half}°, the share of each class that is recognised (blue) and "
        "the share that is mistaken for the class named (orange)."
    )
    figure = draw_accuracy(counts, names)
    title = "Accuracy on rotated test images"
    return Drawing("rotation-accuracy", title, describe(subject.label, counts), caption, figure, numbers)


def as_counts(rows: pd.DataFrame, classes: int) -> Counts:
    """Arrange rows of seed, degrees, actual, predicted and count; a row that is missing is a count of 0."""
    seeds, degrees = (sorted(int(value) for value in rows[name].unique()) for name in ("seed", "degrees"))
    confusion = np.zeros((len(seeds), len(degrees), classes, classes), dtype=np.int64)
    places = (rows["seed"].map(seeds.index), rows["degrees"].map(degrees.index), rows["actual"], rows["predicted"])
    confusion[tuple(place.to_numpy() for place in places)] = rows["count"].to_numpy()
    return Counts(seeds, degrees, confusion)


def describe(label: str, counts: Counts) -> str:
    """Return the finding: the accuracy upright, upside down and at the worst angle."""
    accuracy = accuracies(counts.confusion).mean(0)
    worst, half = int(accuracy.argmin()), counts.upside_down
    return (
        f"{label} recognises {accuracy[0]:.1f} % of the upright test images, {accuracy[half]:.1f} % at "
        f"{counts.degrees[half]}°, and fewest at {counts.degrees[worst]}° ({accuracy[worst]:.1f} %)."
    )


def _rows(confusion: np.ndarray, names: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield accuracies in percent, of all images and of each class, and the most frequent mistake of the class."""
    yield {"class": "all", "accuracy": 100 * confusion.trace() / confusion.sum()}
    shares = percent(confusion)
    mistakes = most_frequent_mistakes(shares)
    for label in np.flatnonzero(confusion.any(1)).tolist():
        row = {"class": names[label], "accuracy": shares[label, label]}
        if label in mistakes:
            row |= {"mistaken_for": names[mistakes[label]], "percent": shares[label, mistakes[label]]}
        yield row


def accuracies(confusion: np.ndarray) -> np.ndarray:
    """Return the accuracy in percent of each seed and angle, from counts (R, A, J, J)."""
    share: np.ndarray = confusion.diagonal(axis1=2, axis2=3).sum(2) / confusion.sum((2, 3))
    return 100 * share


def percent(confusion: np.ndarray) -> np.ndarray:
    """Return the percentage of class [row] that is predicted as class [column]; 0 for a class without images."""
    share: np.ndarray = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    return 100 * share


def most_frequent_mistakes(shares: np.ndarray) -> dict[int, int]:
    """Return, for each class that is ever mistaken, the class that it is mistaken for most often."""
    others = shares - np.diag(np.diag(shares))
    return {truth: int(row.argmax()) for truth, row in enumerate(others) if row.any()}


def draw_accuracy(counts: Counts, names: Sequence[str]) -> "Figure":
    """Draw accuracy by angle beside the most frequent mistake of each class upside down."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PHONE, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.8, 1))
    _draw_curves(left, counts, names)
    half = counts.upside_down
    _draw_upside_down(right, percent(counts.confusion[:, half].sum(0)), names, counts.degrees[half])
    for axes in (left, right):
        axes.tick_params(labelsize=8)
    return figure


def _draw_curves(axes: "Axes", counts: Counts, names: Sequence[str]) -> None:
    degrees = [*counts.degrees, 360]
    closed = np.concatenate([counts.confusion, counts.confusion[:, :1]], 1)
    classes = np.stack([percent(confusion).diagonal() for confusion in closed.sum(0)])
    for label, line in enumerate(classes.T):
        axes.plot(degrees, line, color=BEHIND, linewidth=0.7)
        # The name stands where the class is furthest above all others.
        ahead = line - np.delete(classes, label, 1).max(1)
        if ahead.max() > CLEAR:
            top = (degrees[ahead.argmax()], line[ahead.argmax()])
            axes.annotate(names[label], top, (0, 2), textcoords="offset points", ha="center", fontsize=8, color=GREY)
    seeds = accuracies(closed)
    axes.fill_between(degrees, seeds.min(0), seeds.max(0), color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(degrees, seeds.mean(0), color=COLOURS[0], linewidth=2)
    axes.set_xticks(range(0, 361, 90), [f"{tick}°" for tick in range(0, 361, 90)])
    axes.set(xlim=(0, 360), ylim=(0, 101))
    axes.set_xlabel("all test images rotated\ncounter-clockwise by", fontsize=8)
    axes.set_ylabel("accuracy (%)", fontsize=8)
    plain_axes(axes)


def _draw_upside_down(axes: "Axes", shares: np.ndarray, names: Sequence[str], degrees: int) -> None:
    shown = sorted(range(len(names))[:ROWS], key=lambda label: shares[label, label])
    mistakes = most_frequent_mistakes(shares)
    for row, label in enumerate(shown):
        right = shares[label, label]
        axes.barh(row, right, color=RIGHT)
        if label in mistakes:
            wrong = shares[label, mistakes[label]]
            axes.barh(row, wrong, left=right, color=WRONG)
            if wrong > CLEAR:
                middle = (right + wrong / 2, row - 0.04)
                axes.annotate(names[mistakes[label]], middle, ha="center", va="center", fontsize=8, color="white")
    axes.set_yticks(range(len(shown)), [names[label] for label in shown])
    axes.set(xlim=(0, 100))
    few = "" if len(names) <= ROWS else f", first {ROWS}"
    axes.set_xlabel(f"% of each class{few}\nat {degrees}°", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
