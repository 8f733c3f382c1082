"""What is taken for what."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLUMN
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DARK = 0.25  # from this share of a row on, its number is written in white


def confusion(subject: Subject) -> Drawing:
    """Draw the confusion matrix that `evaluate` left, its counts summed over the seeds."""
    scored = subject.confusion
    counts = scored.pivot_table(index="actual", columns="predicted", values="count", aggfunc="sum").to_numpy()
    names = [subject.named(label) for label in range(len(counts))]
    seeds = counted(scored["seed"].nunique(), "seed")
    caption = f"Answers of {seeds} to the test images, {counts.sum():,} in all. {told(counts, names)}"
    numbers = scored.groupby(["actual", "predicted"], as_index=False)["count"].sum()
    return Drawing("confusion", "What is taken for what", caption, draw_confusion(counts, names), numbers)


def told(counts: np.ndarray, names: list[str]) -> str:
    """Say how many answers are wrong, which mistake is made most often, and which class is known worst."""
    totals = counts.sum(1)
    errors = counts - np.diag(counts.diagonal())
    wrong = int(errors.sum())
    if wrong == 0:
        return "Every one is right."
    true, taken = np.unravel_index(errors.argmax(), errors.shape)
    with np.errstate(invalid="ignore"):
        recognised = 100 * counts.diagonal() / totals
    worst = int(np.nanargmin(recognised))
    return (
        f"{wrong} ({100 * wrong / counts.sum():.2f} %) are wrong. The most frequent mistake: {names[true]} taken for "
        f"{names[taken]}, {errors[true, taken]} of {totals[true]} times. Recognised least often: {names[worst]} "
        f"({recognised[worst]:.1f} %)."
    )


def draw_confusion(counts: np.ndarray, names: list[str]) -> "Figure":
    """Draw counts as numbers; the colour is the root of the share of their row, so that mistakes can be seen."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN, COLUMN), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, "Blues", norm=PowerNorm(0.5, 0, 1))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > DARK else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=6, color=colour)
    long = max(map(len, names)) > 2
    axes.set_xticks(range(len(names)), names, fontsize=7, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.4)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("taken for", fontsize=8)
    axes.set_ylabel("true class", fontsize=8)
    axes.spines[:].set_visible(False)
    return figure
