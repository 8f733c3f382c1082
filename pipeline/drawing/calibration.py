"""Whether the length of the winning capsule says how often the network is right."""

from statistics import mean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLOURS, PAGE, plain_axes, small_print
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from capsnet.explain.calibration import Bins

BINS = 10
REJECTED = np.linspace(0, 0.3, 31)
TOLD = (0.01, 0.05, 0.1)


class Answers(NamedTuple):
    """Lengths of winning capsules, and whether they won rightly."""

    lengths: "Tensor"
    hits: "Tensor"


def calibration(subject: Subject) -> Drawing:
    """Draw accuracy against length, and what is gained by leaving out the answers with the shortest winners."""
    import torch

    from capsnet.explain.calibration import accuracy_of_surest, equal_bins

    seeds = [
        Answers(scores.lengths.max(1).values, scores.lengths.argmax(1) == subject.test.labels)
        for scores in subject.scores.values()
    ]
    bins = equal_bins(torch.cat([each.lengths for each in seeds]), torch.cat([each.hits for each in seeds]), BINS)
    single = [equal_bins(*answers, BINS) for answers in seeds]
    gained = np.array([[accuracy_of_surest(*answers, share) for share in REJECTED] for answers in seeds])
    rejecting = {share: mean(accuracy_of_surest(*answers, share) for answers in seeds) for share in TOLD}
    return Drawing(
        "calibration",
        "Length of the winning capsule and accuracy",
        told(bins, single, float(gained[:, 0].mean()), rejecting),
        draw_calibration(bins, single, gained),
        pd.DataFrame({name: values.cpu().numpy() for name, values in bins._asdict().items()}),
    )


def told(bins: "Bins", single: "list[Bins]", accuracy: float, rejecting: dict[float, float]) -> str:
    """Say how far lengths are from accuracies, in which direction, and what rejecting the shortest winners gains."""
    answers = int(bins.images.sum())
    mean_length = float((bins.length * bins.images).sum() / answers)
    side = "understate" if 100 * mean_length < accuracy else "overstate"
    errors = [each.error for each in single]
    gains = ", ".join(f"{value:.2f} % without {100 * share:g} % of them" for share, value in rejecting.items())
    return (
        f"Left: {answers:,} answers of {counted(len(single), 'seed')} in {len(bins.images)} bins of equal counts, by "
        "the length of the winning capsule (thin lines: each seed alone). Lengths lie between 0 and 1, but are "
        f"no probabilities: their mean is {mean_length:.3f}, and {accuracy:.2f} % of the answers are right, so they "
        f"{side} how sure one may be. Expected calibration error, the mean over the answers of |accuracy - mean "
        "length| of their bin: "
        f"{bins.error:.3f} ({min(errors):.3f} to {max(errors):.3f} of a seed alone). Right: accuracy without the "
        f"answers whose winners are shortest, mean and range of the seeds: {gains}."
    )


def draw_calibration(bins: "Bins", single: "list[Bins]", gained: np.ndarray) -> "Figure":
    """Draw the reliability diagram, and accuracy against the share of answers that is rejected."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_reliability(left, bins, single)
    right.plot(100 * REJECTED, gained.mean(0), color=COLOURS[0], linewidth=1.6)
    right.fill_between(100 * REJECTED, gained.min(0), gained.max(0), color=COLOURS[0], alpha=0.15, linewidth=0)
    right.set(xlabel="answers rejected, shortest winners first (%)", ylabel="accuracy of the others (%)")
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
    axes.plot(*_points(bins), "o-", color=COLOURS[0], markersize=4, linewidth=1.6, label=f"{counts} answers a point")
    axes.legend(frameon=False, fontsize=7)
    axes.set(xlabel="mean length of the winning capsule", ylabel="accuracy", xlim=(lowest, 1.0), ylim=(lowest, 1.01))


def _points(bins: "Bins") -> tuple[np.ndarray, np.ndarray]:
    return bins.length.cpu().numpy(), bins.accuracy.cpu().numpy()
