"""A search as the page of its study shows it."""

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.drawing.search_plots import complete, rank_correlations, tied
from pipeline.drawing.words import listed, signed
from pipeline.reporting.figures_shown import FigureShown, figure
from pipeline.reporting.search_method import choice, method
from pipeline.reporting.typeset import Cells
from pipeline.runtime.made_files import existing
from pipeline.runtime.paths import REPORTS, TUNING
from pipeline.settings.params import Params
from pipeline.settings.reading import read_yaml
from pipeline.settings.searching import Tune


class SearchShown(NamedTuple):
    """What a search found."""

    name: str
    command: str
    entry: Tune
    method: str
    best: dict[str, Any]
    decided: str
    trials: Cells
    figures: list[FigureShown]


class Plot(NamedTuple):
    """A plot of a search by the name of its file, with its words."""

    name: str
    title: str
    finding: str
    caption: str


def searches(study: str, params: Params) -> list[SearchShown]:
    """Return the searches of a study that are made."""
    entries = {name: each for name, each in params.tune.items() if each.study == study}
    return [search(study, name, each) for name, each in entries.items() if best_of(study, name).is_file()]


def best_of(study: str, name: str) -> Path:
    """Return the path of the best values of a search."""
    return REPORTS / study / TUNING / name / "best.yaml"


def search(study: str, name: str, entry: Tune) -> SearchShown:
    """Return what a search found, with its plots."""
    command = f"dvc repro tune@{name}"
    folder = best_of(study, name).parent
    best = read_yaml(best_of(study, name))
    trials = pd.read_csv(existing(folder / "trials.csv", command))
    figures = [
        figure(folder / each.name, (each.title, each.finding, each.caption), f"search-{name}-{each.name}", command)
        for each in plots(trials, best["trial"])
    ]
    cells = [list(trials.columns), *([_short(value) for value in row] for row in trials.to_numpy().tolist())]
    return SearchShown(name, command, entry, method(entry), best, " ".join(choice(best)), cells, figures)


def plots(trials: pd.DataFrame, best: int) -> list[Plot]:
    """Return the plots of a search, whose best trial has the number `best`."""
    ended = complete(trials).set_index("trial")
    accuracy, chosen, first = ended["val_accuracy"], ended.loc[best], tied(trials)
    stopped = len(trials) - len(ended)
    who = f"trial {first[0]}" if len(first) == 1 else f"trials {listed(map(str, first))}, which tie"
    ring = "best trial" if len(first) == 1 else "trials that tie"
    ranks = rank_correlations(trials)
    return [
        Plot(
            "history",
            "Accuracy of each trial",
            f"The highest validation accuracy is {accuracy.max():.2f} %, of {who}; trial {accuracy.index[0]} has "
            f"{accuracy.iloc[0]:.2f} %.",
            f"{stopped} of {len(trials)} trials {'was' if stopped == 1 else 'were'} stopped early.",
        ),
        Plot(
            "parallel",
            "Values and accuracy of each trial",
            f"The best validation accuracy comes with alpha {_interval(ended, 'alpha', first)} and lr "
            f"{_interval(ended, 'lr', first)}.",
            f"Each line is one complete trial; orange: {ring}. Alpha and lr have logarithmic axes.",
        ),
        Plot(
            "contour",
            "Trials by alpha and lr",
            f"The chosen trial, {best}, has alpha {chosen['alpha']:.3g} and lr {chosen['lr']:.3g}.",
            f"A ring marks the {ring}, a cross a trial that was stopped early.",
        ),
        Plot(
            "importance",
            "Influence of alpha and lr",
            f"The rank correlation with the validation accuracy is {signed(ranks['alpha'])} for alpha and "
            f"{signed(ranks['lr'])} for lr.",
            f"Computed from {len(ended)} complete trials.",
        ),
    ]


def _interval(trials: pd.DataFrame, name: str, numbers: list[int]) -> str:
    values = trials.loc[numbers, name]
    low, high = values.min(), values.max()
    return f"{low:.3g}" if low == high else f"from {low:.3g} to {high:.3g}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{value:.4g}"
