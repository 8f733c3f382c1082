"""Learning curves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLOURS, PHONE, STYLES, plain_axes, small_print
from pipeline.drawing.subject import Record, Subject, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Test scores by name: what others report, and ours.
TestScores = Mapping[str, tuple[float, float]]

# Columns of history.csv, with the label and the scale of their axis.
CURVES = (
    ("train_loss", "total loss, training", "log"),
    ("train_rloss", "RLoss per image, training", "log"),
    ("train_accuracy", "accuracy (%), training", "linear"),
    ("val_accuracy", "accuracy (%), validation", "linear"),
)
ACROSS = 2  # panels beside each other


def curves(runs: Sequence[Record | Subject]) -> Drawing:
    """Draw losses and accuracies by epoch: the mean over the seeds, and the range from the lowest to the highest."""
    histories = {run.label: read_history(run) for run in runs}
    reported = {run.label: run.reported for run in runs}
    caption = "Each line is the mean over the seeds, and the shaded area reaches from the lowest seed to the highest."
    if any(reported.values()):
        caption += " At the last epoch, a diamond marks the test score that others report, and a disc our mean."
    return Drawing("curves", "Learning curves", describe(histories), caption, draw_curves(histories, reported))


def describe(histories: Mapping[str, pd.DataFrame]) -> str:
    """Return the finding: the training accuracy after the last epoch."""
    last = {label: round(_at_the_end(history), 2) for label, history in histories.items()}
    highest, lowest = (choose(last, key=last.__getitem__) for choose in (max, min))
    if last[highest] == last[lowest]:
        return f"After the last epoch the training accuracy is {last[highest]:.2f} %{' for each' * (len(last) > 1)}."
    return (
        f"After the last epoch the training accuracy is highest for {highest} ({last[highest]:.2f} %) and lowest for "
        f"{lowest} ({last[lowest]:.2f} %)."
    )


def draw_curves(histories: dict[str, pd.DataFrame], scores: Mapping[str, TestScores]) -> "Figure":
    """Draw each curve of `CURVES` that all histories have, and at its end the test scores."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    columns = [curve for curve in CURVES if all(_has(history, curve[0]) for history in histories.values())]
    rows = -(-len(columns) // ACROSS)
    figure = Figure(figsize=(PHONE, 2.2 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    for axes in panels[len(columns) :]:
        axes.remove()
    for axes, (column, title, scale) in zip(panels, columns, strict=False):
        for number, (label, history) in enumerate(histories.items()):
            _draw_curve(axes, history, column, label, number)
            if pair := scores[label].get(column.removeprefix("train_")):
                _draw_scores(axes, history["epoch"].max(), pair, number)
        axes.set(xlabel="epoch", yscale=scale)
        axes.set_title(title, fontsize=9, loc="left")
        if scale == "log":
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        plain_axes(axes)
        small_print(axes)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=ACROSS, frameon=False, fontsize=8)
    return figure


def _draw_curve(axes: "Axes", history: pd.DataFrame, column: str, label: str, number: int) -> None:
    from matplotlib.ticker import MaxNLocator

    colour, style = COLOURS[number % len(COLOURS)], STYLES[number % len(STYLES)]
    seeds = history.pivot(index="epoch", columns="seed", values=column)
    marker = "o" if len(seeds) == 1 else ""  # a line needs two epochs
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
