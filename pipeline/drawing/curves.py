"""Learning curves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLOURS, STYLES, plain_axes
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Scores of the test images by their name, what others report and ours.
Scores = Mapping[str, tuple[float, float]]

# Columns of history.csv and how an axis calls them.
CURVES = (
    ("train_loss", "total loss, training", "log"),
    ("train_rloss", "RLoss per image, training", "log"),
    ("train_accuracy", "accuracy (%), training", "linear"),
    ("val_accuracy", "accuracy (%), validation", "linear"),
)


def curves(subjects: Sequence[Subject]) -> Drawing:
    """Draw what training gave: the mean over the seeds, and the range from the lowest to the highest."""
    histories = {subject.label: subject.history for subject in subjects}
    last = {label: _at_the_end(history) for label, history in histories.items()}
    caption = (
        "Learning curves: the mean over the seeds, and the range from the lowest to the highest. After the last epoch "
        + "; ".join(f"{label}: training accuracy {accuracy:.2f} %" for label, accuracy in last.items())
        + "."
    )
    scores = {subject.label: subject.reported_and_ours for subject in subjects}
    if any(scores.values()):
        caption += (
            " Beside the curves of the training, at their end, scores of the test images: a diamond for what others "
            "report, a disc for our mean over the seeds."
        )
    return Drawing("curves", "Learning curves", caption, draw_curves(histories, scores))


def draw_curves(histories: dict[str, pd.DataFrame], scores: Mapping[str, Scores]) -> "Figure":
    """Draw each curve of `CURVES` that the histories have, and at its end the scores of the test images."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    columns = [curve for curve in CURVES if all(_has(history, curve[0]) for history in histories.values())]
    figure = Figure(figsize=(3.4 * len(columns), 3.0), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, (column, title, scale) in zip(panels, columns, strict=True):
        for number, (label, history) in enumerate(histories.items()):
            _draw_curve(axes, history, column, label, number)
            if pair := scores[label].get(column.removeprefix("train_")):
                _draw_scores(axes, history["epoch"].max(), pair, number)
        axes.set(xlabel="epoch", ylabel=title, yscale=scale)
        if scale == "log":
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        plain_axes(axes)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _draw_curve(axes: "Axes", history: pd.DataFrame, column: str, label: str, number: int) -> None:
    from matplotlib.ticker import MaxNLocator

    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    seeds = history.pivot(index="epoch", columns="seed", values=column)
    marker = "o" if len(seeds) == 1 else ""  # one epoch makes no line
    axes.plot(seeds.index, seeds.mean(axis=1), style + marker, color=colour, label=label, linewidth=1.4)
    axes.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _draw_scores(axes: "Axes", epoch: int, pair: tuple[float, float], number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    for value, marker, inside in zip(pair, "Do", ("white", colour), strict=True):
        axes.plot([epoch], [value], marker, color=colour, markerfacecolor=inside, markersize=5, clip_on=False, zorder=3)


def _has(history: pd.DataFrame, column: str) -> bool:
    return column in history and bool(history[column].notna().any())


def _at_the_end(history: pd.DataFrame) -> float:
    return float(history.loc[history["epoch"] == history["epoch"].max(), "train_accuracy"].mean())
