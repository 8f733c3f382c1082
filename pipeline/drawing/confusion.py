"""The confusion matrix."""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLUMN
from pipeline.drawing.subject import Subject, read_confusion
from pipeline.drawing.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DARK = 0.25  # a cell with a larger share of its row has a white number


def confusion(subject: Subject) -> Drawing:
    """Draw the confusion matrix that `evaluate` wrote, summed over the seeds."""
    scored = read_confusion(subject)
    counts = scored.pivot_table(index="actual", columns="predicted", values="count", aggfunc="sum").to_numpy()
    names = [subject.named(label) for label in range(len(counts))]
    seeds = counted(scored["seed"].nunique(), "seed")
    caption = f"Answers of {subject.label} ({seeds} together) to the test images; darker cells are larger shares."
    numbers = scored.groupby(["actual", "predicted"], as_index=False)["count"].sum()
    figure = draw_confusion(counts, names)
    return Drawing("confusion", "Confusion matrix", describe(counts, names), caption, figure, numbers)


def describe(counts: np.ndarray, names: list[str]) -> str:
    """Return the finding: how many answers are wrong, and the most frequent mistake."""
    totals = counts.sum(1)
    errors = counts - np.diag(counts.diagonal())
    wrong, answers = int(errors.sum()), int(counts.sum())
    if wrong == 0:
        return f"All {answers:,} answers are right."
    true, predicted = np.unravel_index(errors.argmax(), errors.shape)
    verb = "is" if wrong == 1 else "are"
    return (
        f"{wrong:,} of {answers:,} answers ({100 * wrong / answers:.2f} %) {verb} wrong; the most frequent mistake is "
        f"{names[true]} read as {names[predicted]} ({errors[true, predicted]} of {totals[true]})."
    )


def draw_confusion(counts: np.ndarray, names: list[str]) -> "Figure":
    """Draw counts as numbers; the colour follows the square root of their share of the row, which shows mistakes."""
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
    axes.set_xlabel("predicted class", fontsize=8)
    axes.set_ylabel("true class", fontsize=8)
    axes.spines[:].set_visible(False)
    return figure
