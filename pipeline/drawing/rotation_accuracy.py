"""Accuracy on the test images, all of them turned round.

Axes: R seeds, A angles, J classes.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import BEHIND, COLOURS, GREY, PAGE, RIGHT, WRONG, plain_axes
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import counted, listed, spans, stretches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEGREES = range(0, 360, 15)
DOWN = 180
ROWS = 10  # classes whose confusion upside down is drawn
CLEAR = 6  # percent: what is drawn wider than that has room for a name


def rotation_accuracy(subject: Subject) -> Drawing:
    """Draw the accuracy of all seeds, and that of each class, over the angle; and what is confused upside down."""
    from capsnet.explain.rotation import confusions
    from capsnet.networks.saved import load

    test, names = subject.test, subject.test.manifest.class_names
    counts = np.stack(
        [
            confusions(load(path).to(test.images.device), test.images, test.labels, DEGREES).numpy()
            for path in subject.models.values()
        ]
    )
    rows = [
        {"seed": seed, "degrees": degrees, **row}
        for seed, of_seed in zip(subject.models, counts, strict=True)
        for degrees, confusion in zip(DEGREES, of_seed, strict=True)
        for row in _rows(confusion, names)
    ]
    figure = draw_accuracy(counts, names)
    return Drawing(
        "rotation-accuracy", "Accuracy on rotated images", describe(subject, counts), figure, pd.DataFrame(rows)
    )


def describe(subject: Subject, counts: np.ndarray) -> str:
    """Say how far round the network recognises images, which classes upside down, and what for it takes the others."""
    names = subject.test.manifest.class_names
    accuracy = accuracies(counts).mean(0)
    at = {degrees: accuracy[DEGREES.index(degrees)] for degrees in (0, 90, DOWN)}
    sideways, shares = (percent(counts[:, DEGREES.index(degrees)].sum(0)) for degrees in (90, DOWN))
    surest = int(sideways.diagonal().argmax())
    below = spans([stretch for stretch in stretches([int(value < 50) for value in accuracy]) if stretch.value], DEGREES)
    best = sorted(range(len(names)), key=lambda label: -shares[label, label])[:3]
    confused = sorted(most_taken(shares).items(), key=lambda pair: -shares[pair])[:3]
    recognised = [f"{names[label]} ({shares[label, label]:.0f} %)" for label in best if shares[label, label]]
    taken = [f"{shares[pair]:.0f} % of {names[pair[0]]} are taken for {names[pair[1]]}" for pair in confused]
    seeds = counted(len(counts), "seed")
    return (
        f"Accuracy of {subject.label} on the {counts[0, 0].sum():,} test images, all turned counter-clockwise: mean of "
        f"{seeds} and their range; a grey line a class. It is {at[0]:.1f} % upright, {at[90]:.1f} % at 90° "
        f"(where {names[surest]} has {sideways[surest, surest]:.0f} %) and {at[DOWN]:.1f} % at {DOWN}°; it is below "
        f"50 % {below or 'nowhere'}. Recognised best at {DOWN}°: {listed(recognised or ['none'])}"
        + (f"; {listed(taken)}." if taken else ".")
    )


def _rows(confusion: np.ndarray, names: Sequence[str]) -> Iterator[dict[str, object]]:
    """Give accuracies in percent, of all images and of each class, and the other class that it is taken for most."""
    yield {"class": "all", "accuracy": 100 * confusion.trace() / confusion.sum()}
    shares = percent(confusion)
    taken = most_taken(shares)
    for label in np.flatnonzero(confusion.any(1)).tolist():
        row = {"class": names[label], "accuracy": shares[label, label]}
        other = {"taken_for": names[taken[label]], "percent": shares[label, taken[label]]} if label in taken else {}
        yield {**row, **other}


def accuracies(counts: np.ndarray) -> np.ndarray:
    """Return the accuracy in percent of each seed and angle, of counts (R, A, J, J)."""
    share: np.ndarray = counts.diagonal(axis1=2, axis2=3).sum(2) / counts.sum((2, 3))
    return 100 * share


def percent(confusion: np.ndarray) -> np.ndarray:
    """Return how many percent of class [row] are taken for class [column]; 0 of a class without images."""
    share: np.ndarray = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    return 100 * share


def most_taken(shares: np.ndarray) -> dict[int, int]:
    """Return the other class that each class is taken for most, of classes that are mistaken at all."""
    others = shares - np.diag(np.diag(shares))
    return {truth: int(row.argmax()) for truth, row in enumerate(others) if row.any()}


def draw_accuracy(counts: np.ndarray, names: Sequence[str]) -> "Figure":
    """Draw accuracy over the angle, of counts (R, A, J, J), beside what each class is taken for upside down."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2.2, 1))
    _draw_curves(left, counts, names)
    _draw_upside_down(right, percent(counts[:, DEGREES.index(DOWN)].sum(0)), names)
    for axes in (left, right):
        axes.tick_params(labelsize=8)
    return figure


def _draw_curves(axes: "Axes", counts: np.ndarray, names: Sequence[str]) -> None:
    degrees = [*DEGREES, 360]
    closed = np.concatenate([counts, counts[:, :1]], 1)
    classes = np.stack([percent(confusion).diagonal() for confusion in closed.sum(0)])
    for label, line in enumerate(classes.T):
        axes.plot(degrees, line, color=BEHIND, linewidth=0.7)
        # Its name stands where a class is furthest above all others.
        ahead = line - np.delete(classes, label, 1).max(1)
        if ahead.max() > CLEAR:
            top = (degrees[ahead.argmax()], line[ahead.argmax()])
            axes.annotate(names[label], top, (0, 2), textcoords="offset points", ha="center", fontsize=7, color=GREY)
    seeds = accuracies(closed)
    axes.fill_between(degrees, seeds.min(0), seeds.max(0), color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(degrees, seeds.mean(0), color=COLOURS[0], linewidth=2)
    axes.set_xticks(range(0, 361, 45), [f"{tick}°" for tick in range(0, 361, 45)])
    axes.set(xlim=(0, 360), ylim=(0, 101))
    axes.set_xlabel("all test images turned counter-clockwise by", fontsize=8)
    axes.set_ylabel("accuracy (%)", fontsize=8)
    plain_axes(axes)


def _draw_upside_down(axes: "Axes", shares: np.ndarray, names: Sequence[str]) -> None:
    shown = sorted(range(len(names))[:ROWS], key=lambda label: shares[label, label])
    taken = most_taken(shares)
    for row, label in enumerate(shown):
        right = shares[label, label]
        axes.barh(row, right, color=RIGHT)
        if label in taken:
            wrong = shares[label, taken[label]]
            axes.barh(row, wrong, left=right, color=WRONG)
            if wrong > CLEAR:
                middle = (right + wrong / 2, row - 0.04)
                axes.annotate(names[taken[label]], middle, ha="center", va="center", fontsize=7, color="white")
    axes.set_yticks(range(len(shown)), [names[label] for label in shown])
    axes.set(xlim=(0, 100))
    few = "" if len(names) <= ROWS else f" (first {ROWS})"
    axes.set_xlabel(f"% of a class{few} at {DOWN}°: recognised,\nand taken for the class named", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
