"""Optuna's plots of a search: history, parallel coordinates, contour and importance of the two values."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import optuna
from matplotlib import pyplot
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as optuna_plots

from capsnet.files import whole_file

TARGET = "validation accuracy (%)"
PLOTS = {
    "history": optuna_plots.plot_optimization_history,
    "parallel": optuna_plots.plot_parallel_coordinate,
    "contour": optuna_plots.plot_contour,
    "importance": optuna_plots.plot_param_importances,
}


def draw_plots(trials: Sequence[FrozenTrial], folder: Path) -> None:
    """Draw each plot into a PNG file."""
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    matplotlib.use("agg")
    with warnings.catch_warnings(), pyplot.style.context("default"):
        warnings.simplefilter("ignore", ExperimentalWarning)
        for name, plot in PLOTS.items():
            figure = plot(study, target_name=TARGET).figure
            with whole_file(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
            pyplot.close(figure)
