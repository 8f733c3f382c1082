"""The length of the winning capsule as a measure of certainty."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLOURS, PHONE, plain_axes, small_print
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from capsnet.explain.calibration import Bins

BINS = 10
REJECTED = np.linspace(0, 0.3, 31)


class Answers(NamedTuple):
    """Lengths of winning capsules, and whether each answer is right."""

    lengths: "Tensor"
    hits: "Tensor"


def calibration(subject: Subject) -> Drawing:
    """Draw accuracy by length, and the accuracy that is left when answers with short capsules are rejected.

    `subject.scores` holds the lengths: `evaluate` writes none for single images.
    """
    import torch

    from capsnet.explain.calibration import accuracy_of_surest, equal_bins

    seeds = [
        Answers(scores.lengths.max(1).values, scores.lengths.argmax(1) == subject.test.labels)
        for scores in subject.scores.values()
    ]
    bins = equal_bins(torch.cat([each.lengths for each in seeds]), torch.cat([each.hits for each in seeds]), BINS)
    single = [equal_bins(*answers, BINS) for answers in seeds]
    gained = np.array([[accuracy_of_surest(*answers, share) for share in REJECTED] for answers in seeds])
    caption = (
        f"Left: accuracy by length, with the answers sorted into {len(bins.images)} groups of equal size"
        f"{'; thin lines are single seeds' if len(seeds) > 1 else ''}. Right: accuracy of the other answers if those "
        f"with the shortest winning capsules are rejected ({subject.label}, {counted(len(seeds), 'seed')})."
    )
    return Drawing(
        "calibration",
        "Capsule length and accuracy",
        describe(bins),
        caption,
        draw_calibration(bins, single, gained),
        pd.DataFrame({name: values.cpu().numpy() for name, values in bins._asdict().items()}),
    )


def describe(bins: "Bins") -> str:
    """Return the finding: how far the lengths are from the accuracy, and in which direction."""
    answers = bins.images.sum()
    length, accuracy = (float((values * bins.images).sum() / answers) for values in (bins.length, bins.accuracy))
    side = "understate" if length < accuracy else "overstate"
    return (
        f"The winning capsule has a mean length of {length:.3f}, and the share of right answers is {accuracy:.3f}: "
        f"lengths {side} the certainty (expected calibration error {bins.error:.3f}). "
        "The margin loss asks for a length of 0.9 and no more, so a length is no probability."
    )


def draw_calibration(bins: "Bins", single: "list[Bins]", gained: np.ndarray) -> "Figure":
    """Draw the reliability diagram, and the accuracy by share of rejected answers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PHONE, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, bins, single)
    right.plot(100 * REJECTED, gained.mean(0), color=COLOURS[0], linewidth=1.6)
    right.fill_between(100 * REJECTED, gained.min(0), gained.max(0), color=COLOURS[0], alpha=0.15, linewidth=0)
    right.set(xlabel="rejected answers (%),\nshortest capsules first", ylabel="accuracy of the other answers (%)")
    for axes in (left, right):
        plain_axes(axes)
        small_print(axes)
    return figure


def _draw_reliability(axes: "Axes", bins: "Bins", single: "list[Bins]") -> None:
    least = min(float(min(each.length.min(), each.accuracy.min())) for each in (bins, *single))
    lowest = max(0.0, least - 0.05 * (1 - least))
    axes.plot([lowest, 1], [lowest, 1], "--", color="0.5", linewidth=0.8, label="length = accuracy")
    for each in single:
        axes.plot(*_points(each), color=COLOURS[0], alpha=0.35, linewidth=0.8)
    counts = f"{bins.images.min()} to {bins.images.max()}" if bins.images.min() < bins.images.max() else bins.images[0]
    axes.plot(*_points(bins), "o-", color=COLOURS[0], markersize=4, linewidth=1.6, label=f"{counts} answers per point")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, 1.22), borderpad=0)
    axes.set(xlabel="mean length of\nthe winning capsule", ylabel="accuracy", xlim=(lowest, 1.0), ylim=(lowest, 1.01))


def _points(bins: "Bins") -> tuple[np.ndarray, np.ndarray]:
    return bins.length.cpu().numpy(), bins.accuracy.cpu().numpy()
