"""The tables of a study, built from what `evaluate` scored and written as CSV, Markdown and LaTeX.

Published values stand beside ours; every accuracy is in percent, every difference of accuracies in points, every ± a
sample standard deviation over the seeds. A run that is not scored yet stands there as "not run", with no seeds and with
what is published about it; the commands that would fill such gaps are printed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from capsnet.files import write_whole
from pipeline.reporting.scores import (
    Row,
    not_run,
    protocol,
    provenance,
    read_costs,
    read_metrics,
    read_rotations,
    rotated_by,
    rows_of,
    scored_by,
)
from pipeline.reporting.search_method import searched
from pipeline.reporting.typeset import NOT_RUN, Cells, costs_readable, latex, markdown, readable, spread, word
from pipeline.runtime.paths import REPORTS, TABLES
from pipeline.settings.params import Params, find
from pipeline.settings.tables import Benchmarks, Costs, Decoders, Robustness, Topologies, factor

DECODERS = [
    "run", "model", "parameters", "decoder_parameters", "epochs", "seeds", "rloss_mean", "rloss_std", "mloss_mean",
    "mloss_std", "accuracy_mean", "accuracy_std", "published_rloss", "published_mloss", "published_accuracy",
    "difference",
]  # fmt: skip
BENCHMARKS = [
    "run", "model", "dataset", "epochs", "seeds", "accuracy_mean", "accuracy_std", "published_accuracy", "source",
    "difference",
]  # fmt: skip
TOPOLOGIES = [
    "factor", "value", "run", "parameters", "epochs", "seeds", "accuracy_mean", "accuracy_std", "rloss_mean",
    "rloss_std", "mloss_mean", "mloss_std", "difference",
]  # fmt: skip
ROBUSTNESS = [
    "run", "model", "dataset", "parameters", "epochs", "seeds", "degrees", "accuracy_mean", "accuracy_std",
    "published_accuracy", "source", "difference",
]  # fmt: skip
COSTS = [
    "run", "model", "dataset", "epochs", "seeds", "seconds_an_epoch", "hours", "peak_memory_mb", "hardware", "commit",
    "remark",
]  # fmt: skip
COUNTS = ("parameters", "decoder_parameters", "epochs", "seeds", "degrees")
ENSEMBLE = (
    "An ensemble is one result of the networks of all seeds of a run, the lengths of their class capsules summed: it "
    "has no spread, and compares with other ensembles only."
)
TAKEN = (
    "Seconds an epoch: training steps alone, median of a seed's epochs, mean of n seeds; hours: of all epochs of all "
    "seeds. On a GPU the seeds are trained at the same time, and each has its share. Memory: the most that the "
    "process had, imports included; on a GPU what its tensors had there."
)
RECORDED = (
    "Written down by `python -m pipeline.apps.costs {study}` from what MLflow recorded; "
    "no training takes its time twice."
)
LOSSES = (
    "RLoss: squared error summed over an image, decoder fed with the predicted class; MLoss: margin loss of an image."
)
ROTATED = "Columns of degrees: accuracy (%) on the test images, all rotated counter-clockwise by that angle; "
NOT_TRAINED_SO = "no training rotates images."


class Table(NamedTuple):
    """One table: as data, as people read it, and what must be known to read it."""

    data: pd.DataFrame
    cells: Cells
    notes: list[str]
    provenance: str
    missing: list[str]  # commands that would fill its gaps


def decoders(entry: Decoders, params: Params) -> Table:
    """Compare runs by losses, accuracy and size, one row a run."""
    rows = rows_of(entry.study, entry.runs, params)
    data = _frame([{**row, **_published(row, params)} for row in rows], DECODERS)
    return _table(rows, data, [LOSSES])


def benchmarks(entry: Benchmarks, params: Params) -> Table:
    """Compare accuracies with the published ones: our runs first, then our ensembles, then what others report.

    A run of which fewer than two seeds are scored makes no ensemble; it has a row for one if others report one.
    """
    rows = rows_of(entry.study, [*entry.run_names(), *entry.ensembles], params)
    rows = [_with_protocol(row, entry) for row in rows]
    ours = [{**row, **_published(row, params)} for row in rows[: len(entry.runs)]]
    together = [{**row, **_published(row, params, ensemble=True)} for row in map(_ensemble, rows[len(entry.runs) :])]
    ensembles = [row for row in together if row["seeds"] or "source" in row]
    others = [
        {"model": row.model, "dataset": row.dataset, "published_accuracy": row.accuracy, "source": row.source}
        for row in entry.published
    ]
    data = _frame([*ours, *ensembles, *others], BENCHMARKS)
    return _table(rows, data, [ENSEMBLE] if ensembles else [])


def topologies(entry: Topologies, params: Params) -> Table:
    """Compare runs with the one that they differ from in one setting, a group a setting, that one in each group."""
    base, *rows = rows_of(entry.study, [entry.base, *entry.runs], params)
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(factor(_asked(row), _asked(base), row["run"]), [base]).append(row)
    lines = [
        {**row, "factor": name, "value": word(row["settings"][name]), "difference": _difference(row, base)}
        for name, members in groups.items()
        for row in _in_order(name, members)
    ]
    notes = [
        LOSSES,
        f"Each run differs from {entry.base} in the one setting of its group; differences are to that run, which is "
        "in every group and was trained once for all of them.",
    ]
    return _table([base, *rows], _frame(lines, TOPOLOGIES), notes)


def robustness(entry: Robustness, params: Params) -> Table:
    """Compare accuracies on images that are harder than those of the training.

    As data a run has a row for its own test images, and one for each angle if it is scored on rotated ones as well; for
    people it has one row, with the angles of the entry.
    """
    rows = rows_of(entry.study, entry.runs, params)
    own = [{**row, **_published(row, params)} for row in rows]
    turned = [_at_angles(entry.study, row) if row["run"] in params.robustness else [] for row in rows]
    data = _frame([line for row, others in zip(own, turned, strict=True) for line in (row, *others)], ROBUSTNESS)
    cells = readable(_frame(own, ROBUSTNESS))
    place = cells[0].index("n")
    cells[0][place:place] = [f"{degrees}°" for degrees in entry.degrees]
    missing = []
    for row, others, line in zip(rows, turned, cells[1:], strict=True):
        at = {other["degrees"]: spread(other["accuracy_mean"], other["accuracy_std"], 2) for other in others}
        waiting = row["run"] in params.robustness and not others
        line[place:place] = [at.get(degrees, NOT_RUN if waiting else "") for degrees in entry.degrees]
        missing += [rotated_by(row["run"])] if waiting else []
    table = _table(rows, data, _harder(rows, params))
    return table._replace(cells=cells, missing=[*table.missing, *missing])


def costs(entry: Costs, params: Params) -> Table:
    """Say what training took, for the runs of the study whose cost is recorded."""
    known = read_costs(entry.study)
    recorded = known if known is not None else pd.DataFrame(columns=["run"])
    runs = [run for run, study in params.studies_of_runs.items() if study == entry.study]
    names = [run for run in recorded["run"].unique() if run in runs]
    lines = [{**row, **_taken(recorded[recorded["run"] == row["run"]])} for row in rows_of(entry.study, names, params)]
    data = _frame(lines, COSTS)
    missing = [row["run"] for row in read_metrics(entry.study, runs) if row["run"] not in names]
    notes = [] if lines else ["No cost is recorded yet."]
    notes += [f"Scored, but without recorded costs: {', '.join(missing)}."] if missing else []
    cells = costs_readable(data)
    return Table(data, cells, [*notes, TAKEN], RECORDED.format(study=entry.study), [])


def _taken(seeds: pd.DataFrame) -> Row:
    """Return the cost of a run from those of its seeds."""
    words = {key: "; ".join(map(str, seeds[key].dropna().unique())) for key in ("hardware", "commit", "remark")}
    return {
        **words,
        "epochs": seeds["epochs"].max(),
        "seeds": len(seeds),
        "seconds_an_epoch": seeds["seconds_an_epoch"].mean(),
        "hours": seeds["hours"].sum(),
        "peak_memory_mb": seeds["peak_memory_mb"].max(),
    }


def _at_angles(study: str, row: Row) -> list[Row]:
    """Return the row of a run at each angle that it is scored at."""
    rotations = read_rotations(study, row["run"]) if row["seeds"] else None
    if rotations is None:
        return []
    return [
        {**row, "degrees": degrees, "accuracy_mean": accuracies.mean(), "accuracy_std": accuracies.std()}
        for degrees, accuracies in rotations.groupby("degrees")["accuracy"]
    ]


def _harder(rows: Sequence[Row], params: Params) -> list[str]:
    """Say in what test images differ from those of the training."""
    moved = dict.fromkeys(row["dataset"] for row in rows if params.datasets[row["dataset"]].format == "affnist")
    said = [ROTATED + _rotated_in_training(rows)] if any(row["run"] in params.robustness for row in rows) else []
    said += [
        f"{name}: trained on digits moved about a field, scored on rotated, sheared, scaled ones." for name in moved
    ]
    return said + [
        f"{row['run']}: {row['pairs']['number']:,} pairs of test images of two classes, overlaid; a pair is right if "
        f"both classes are, and {row['pairs']['image_accuracy_mean']:.2f} % of the single images are."
        for row in rows
        if "pairs" in row
    ]


def _rotated_in_training(rows: Sequence[dict[str, Any]]) -> str:
    # A run that was scored before images could be rotated has no such setting.
    largest = {row["run"]: row.get("settings", {}).get("rotation", 0) for row in rows}
    rotated = [f"{run} was trained on images rotated by up to {angle:g}°" for run, angle in largest.items() if angle]
    return f"{', '.join(rotated)}, the others on none." if rotated else NOT_TRAINED_SO


BUILDERS: dict[str, Callable[[Any, Params], Table]] = {
    "decoders": decoders,
    "benchmarks": benchmarks,
    "topologies": topologies,
    "robustness": robustness,
    "costs": costs,
}


def build(name: str, params: Params) -> Table:
    """Return a table of params.yaml, with the gaps that there are. Raises ValueError for an unknown one."""
    entry = find(name, params.tables, "table")
    table = BUILDERS[entry.kind](entry, params)
    shown = table.data["run"].dropna().unique().tolist()
    return table._replace(notes=[*table.notes, *searched(shown, params.tune)])


def _frame(rows: Sequence[Row], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as data in which a count stays a whole number where others are missing."""
    data = pd.DataFrame(rows).reindex(columns=columns)
    return data.astype({column: "Int64" for column in COUNTS if column in columns})


def _table(rows: Sequence[Row], data: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Put a table together: what its numbers are comes first, what its data is last."""
    said = [*protocol(rows), *notes, *_about(rows, data)]
    return Table(data, readable(data), said, provenance(rows), [scored_by(run) for run in not_run(rows)])


def _published(row: Row, params: Params, *, ensemble: bool = False) -> Row:
    """Return what is published about the run of a row, for single networks or for an ensemble."""
    entry = params.published.get(row["run"])
    if entry is not None and ensemble and entry.ensemble_accuracy is not None:
        return {
            "published_accuracy": entry.ensemble_accuracy,
            "source": entry.source,
            "difference": row["accuracy_mean"] - entry.ensemble_accuracy,
        }
    if entry is None or entry.ensemble != ensemble:
        return {}
    return {
        "published_rloss": entry.rloss,
        "published_mloss": entry.mloss,
        "published_accuracy": entry.accuracy,
        "source": entry.source,
        "difference": row["accuracy_mean"] - entry.accuracy,
    }


def _with_protocol(row: Row, entry: Benchmarks) -> Row:
    """Say in a row whose training the run follows, if the table does."""
    followed = {listed.run: listed.protocol for listed in entry.runs}[row["run"]]
    return {**row, "model": f"{followed}, {row['model']}" if followed else row["model"]}


def _ensemble(row: Row) -> Row:
    """Return the row of all seeds of a run as one, without seeds if there are not two."""
    size = f"ensemble of {row['ensemble']['size']}" if "ensemble" in row else "ensemble"
    accuracy = row["ensemble"]["accuracy"] if "ensemble" in row else float("nan")
    kept = {key: row[key] for key in ("run", "dataset", "epochs")}
    return {**kept, "model": f"{row['model']} ({size})", "seeds": int("ensemble" in row), "accuracy_mean": accuracy}


def _difference(row: Row, base: Row) -> float:
    return float(row["accuracy_mean"] - base["accuracy_mean"])


def _in_order(name: str, members: list[Row]) -> list[Row]:
    """Return the runs of a group by number, or, where the setting is none, the base and the others as listed."""
    values = [row["settings"][name] for row in members]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return members
    return sorted(members, key=lambda row: float(row["settings"][name]))


def _asked(row: Row) -> dict[str, Any]:
    """Return the settings of a row as params.yaml has them: metrics name the precision that was computed in."""
    return {**row["settings"], "precision": row.get("instead_of", row["settings"]["precision"])}


def _about(rows: Sequence[Row], data: pd.DataFrame) -> list[str]:
    """Say what is to be known about published values, other precisions and inexact copies of data, if anything is."""
    published = "published_accuracy" in data and data["published_accuracy"].notna().any()
    said = ["Published values are single results; the reference study's are the best epoch on the test set."]
    said = (said if published else []) + [
        f"{row['run']}: trained in {row['precision']}, for its hardware does not compute {row['instead_of']}."
        for row in rows
        if "instead_of" in row
    ]
    return said + [
        f"Data: {note}." for note in dict.fromkeys(f"{row['dataset']}: {row['note']}" for row in rows if row["note"])
    ]


def write(name: str, params: Params) -> Table:
    """Write a table of params.yaml in its three forms, and return it."""
    table = build(name, params)
    entry = params.tables[name]
    path = REPORTS / entry.study / TABLES / entry.kind
    notes = "".join(f"\n- {note}" for note in (*table.notes, table.provenance))
    caption = f"{entry.title}. {' '.join(table.notes)}"
    write_whole(path.with_suffix(".csv"), table.data.to_csv(index=False, lineterminator="\n"))
    write_whole(path.with_suffix(".md"), markdown(table.cells) + notes + "\n")
    write_whole(path.with_suffix(".tex"), latex(table.cells, caption, f"tab:{name}", [table.provenance]))
    return table
