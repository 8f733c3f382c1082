"""The four plots of a search for alpha and lr, from its trials.csv.

Columns of `trials`: trial, state (complete or pruned), alpha, lr, epochs, val_accuracy in percent, val_rloss.
"""

from collections.abc import Callable, Sequence
from math import exp, log
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from capsnet.files import whole_file
from pipeline.drawing.figure import DPI
from pipeline.drawing.style import BEHIND, COLOURS, COLUMN, GREY, RIGHT, WRONG, plain_axes, small_print
from pipeline.drawing.words import listed, signed
from pipeline.settings.searching import Tune

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SEARCHED = ("alpha", "lr")
HEIGHT = 2.6  # inches
MAP = "viridis"
DECADES = 100  # a logarithmic axis whose ends have a larger ratio has one label per decade


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials that were not stopped early."""
    return trials[trials["state"] == "complete"]


def tied(trials: pd.DataFrame) -> list[int]:
    """Return the numbers of the trials with the highest validation accuracy; more than one if they tie."""
    ended = complete(trials)
    return [int(n) for n in ended.loc[ended["val_accuracy"] == ended["val_accuracy"].max(), "trial"]]


def history(trials: pd.DataFrame, entry: Tune) -> "Figure":
    """Draw the validation accuracy of each trial, and the highest so far."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure()
    ended, stopped = complete(trials), trials[trials["state"] != "complete"]
    axes.step(ended["trial"], ended["val_accuracy"].cummax(), where="post", color=BEHIND, label="highest so far")
    axes.plot(ended["trial"], ended["val_accuracy"], "o", color=RIGHT, markersize=5, label="complete")
    if len(stopped):
        axes.plot(
            stopped["trial"], stopped["val_accuracy"], "o", color=WRONG, mfc="white", markersize=5, label="stopped"
        )
    _ring(axes, trials, "trial", "val_accuracy")
    axes.set(xlabel="trial", ylabel="validation accuracy (%)", xlim=(-0.5, trials["trial"].max() + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def parallel(trials: pd.DataFrame, entry: Tune) -> "Figure":
    """Draw a line for each complete trial through its alpha, lr and validation accuracy."""
    figure, axes = _figure()
    ended = complete(trials).sort_values("val_accuracy", kind="stable")
    best = tied(trials)
    ends: dict[str, tuple[float, float]] = {
        **{key: (log(low), log(high)) for key, (low, high) in (("alpha", entry.alpha), ("lr", entry.lr))},
        "val_accuracy": _ends(ended["val_accuracy"]),
    }
    values = ended.assign(alpha=np.log(ended["alpha"]), lr=np.log(ended["lr"]))
    heights = np.stack([(values[key] - low) / (high - low) for key, (low, high) in ends.items()], 1)
    for trial, line in zip(ended["trial"], heights, strict=True):
        first = trial in best
        axes.plot(range(3), line, "o-", color=WRONG if first else RIGHT, alpha=1 if first else 0.5, markersize=3)
    for place, (key, (low, high)) in enumerate(ends.items()):
        axes.plot([place, place], [0, 1], color="black", linewidth=0.8, zorder=0)
        for height, end, shift, align in ((0, low, -4, "top"), (1, high, 4, "bottom")):
            text = f"{end:.2f} %" if key == "val_accuracy" else f"{exp(end):g}"
            axes.annotate(
                text, (place, height), (0, shift), textcoords="offset points", ha="center", va=align, fontsize=7
            )
    axes.set(xlim=(-0.35, 2.35), ylim=(-0.15, 1.12), yticks=[])
    axes.set_xticks(range(3), ["alpha", "lr", "validation\naccuracy"], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def contour(trials: pd.DataFrame, entry: Tune) -> "Figure":
    """Draw alpha and lr of each trial. The colour is its validation accuracy; a cross marks a trial stopped early."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure, axes = _figure()
    ended, stopped = complete(trials), trials[trials["state"] != "complete"]
    axes.plot(stopped["alpha"], stopped["lr"], "x", color=GREY, markersize=5)
    low, high = _ends(ended["val_accuracy"])
    drawn = axes.scatter(ended["alpha"], ended["lr"], 40, ended["val_accuracy"], cmap=MAP, vmin=low, vmax=high)
    _ring(axes, trials, "alpha", "lr")
    axes.set(xscale="log", yscale="log", xlim=_wider(entry.alpha), ylim=_wider(entry.lr), xlabel="alpha", ylabel="lr")
    for axis, (low, high) in ((axes.xaxis, entry.alpha), (axes.yaxis, entry.lr)):
        axis.set_major_locator(LogLocator(subs=(1,) if high / low > DECADES else (1, 3)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    bar = figure.colorbar(drawn, ax=axes, pad=0.02)
    bar.set_label("validation accuracy (%)", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure


def importance(trials: pd.DataFrame, entry: Tune) -> "Figure":
    """Draw the rank correlation of alpha and lr with the validation accuracy of the complete trials."""
    figure, axes = _figure()
    ranks = rank_correlations(trials)
    for place, name in enumerate(SEARCHED):
        value = ranks[name]
        length = 0 if np.isnan(value) else value
        axes.barh(place, length, color=COLOURS[place], height=0.5)
        # Beside the axis, on the side without the bar.
        side, align = (-4, "right") if length >= 0 else (4, "left")
        axes.annotate(
            signed(value), (0, place), (side, 0), textcoords="offset points", ha=align, va="center", fontsize=8
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlim=(-1, 1), ylim=(-0.6, 1.6), xlabel="rank correlation with validation accuracy")
    axes.set_yticks(range(2), SEARCHED)
    axes.invert_yaxis()
    return figure


# The plots by the name of their file, in the order of the page.
PLOTS: dict[str, Callable[[pd.DataFrame, Tune], "Figure"]] = {
    "history": history,
    "parallel": parallel,
    "contour": contour,
    "importance": importance,
}


def save_plots(trials: pd.DataFrame, entry: Tune, folder: Path) -> None:
    """Write <name>.png of each plot into `folder`."""
    for name, draw in PLOTS.items():
        with whole_file(folder / f"{name}.png") as temporary:
            draw(trials, entry).savefig(temporary, format="png", dpi=DPI)


def rank_correlations(trials: pd.DataFrame) -> dict[str, float]:
    """Return Spearman's correlation of alpha and lr with the validation accuracy of the complete trials."""
    ended = complete(trials)[[*SEARCHED, "val_accuracy"]].rank()
    return {name: float(ended.corr().loc[name, "val_accuracy"]) for name in SEARCHED}


def _figure() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN, HEIGHT), layout="constrained")
    axes = figure.subplots()
    plain_axes(axes)
    small_print(axes)
    return figure, axes


def _ring(axes: "Axes", trials: pd.DataFrame, across: str, up: str) -> None:
    """Draw a ring around the best trial, or around each of those that tie."""
    numbers = tied(trials)
    best = trials[trials["trial"].isin(numbers)]
    label = f"best: {listed([*map(str, numbers)])}" if len(numbers) == 1 else f"tie: {listed([*map(str, numbers)])}"
    axes.plot(best[across], best[up], "o", color=WRONG, mfc="none", markersize=10, mew=1.4, label=label)


def _ends(values: "pd.Series[float]") -> tuple[float, float]:
    """Return the lowest and the highest value, or bounds around them if they are equal."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _wider(bounds: Sequence[float]) -> tuple[float, float]:
    """Return bounds of a logarithmic axis with a margin, so that no point lies on the frame."""
    low, high = bounds
    margin = (high / low) ** 0.05
    return low / margin, high * margin
