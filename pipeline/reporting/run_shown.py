"""The runs of a study as its page shows them, with their settings and their data."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from pipeline.reporting.scores import scored_by
from pipeline.reporting.tables.columns import setting
from pipeline.reporting.typeset import Cells
from pipeline.settings.runs import EARLIER

# Where `make ui` serves the store of the stages. The experiment of params.yaml is number 1 there: MLflow's own is
# number 0, and the pages of MLflow take a number only.
MLFLOW = "http://127.0.0.1:5000/#/experiments/1/runs?searchFilter="


class RunShown(NamedTuple):
    """A run, the command that makes it, and its place in MLflow."""

    name: str
    model: str
    command: str
    condition: str  # for the search field of MLflow
    link: str
    settings: dict[str, str]


def run(metrics: dict[str, Any]) -> RunShown:
    """Return a run with the settings it was scored with."""
    name = metrics["run"]
    condition = f"attributes.run_name = '{name}'"
    seeds = [int(seed) for seed in metrics["seed_list"].split(", ")]
    values = EARLIER | metrics["settings"] | {"seeds": seeds}
    settings = {key: setting(value) for key, value in values.items() if key != "study"}
    return RunShown(name, metrics["model"], scored_by(name), condition, MLFLOW + quote(condition), settings)


def differing(runs: Sequence[RunShown]) -> Cells:
    """Return the settings in which runs differ: a row for each run, or for each setting if those are more."""
    header, *settings = all_settings(runs)
    rows = [header, *(row for row in settings if len(set(row[1:])) > 1)]
    if len(rows) > len(header):
        return rows
    by_run = [list(column) for column in zip(*rows, strict=True)]
    return [["Run", *by_run[0][1:]], *by_run[1:]]


def all_settings(runs: Sequence[RunShown]) -> Cells:
    """Return every setting of every run, a row for each setting; it is empty for a run that does not have it."""
    keys = dict.fromkeys(key for each in runs for key in each.settings)
    return [
        ["Setting", *(each.name for each in runs)],
        *([key, *(r.settings.get(key, "") for r in runs)] for key in keys),
    ]


def data_table(metrics: Sequence[dict[str, Any]]) -> Cells:
    """Return the data sets on which runs were scored, with remarks on inexact copies."""
    rows = dict.fromkeys((row["dataset"], f"{row['test_images']:,}", row["note"] or "none") for row in metrics)
    return [["Data", "Test images", "Note"], *map(list, rows)]
