"""The table `benchmarks`: accuracies of runs and of ensembles beside the published ones.

Our runs come first, then our ensembles, then results of others without a run of ours.
"""

from pipeline.reporting.scores import ScoreRow, rows_of
from pipeline.reporting.tables.columns import (
    ACCURACY,
    DIFFERENCE,
    EPOCHS,
    MODEL,
    PUBLISHED_ACCURACY,
    RUN,
    SOURCE,
    N,
    cells,
    frame,
)
from pipeline.reporting.tables.columns import DATA as DATASET
from pipeline.reporting.tables.table import Table, assemble, with_published
from pipeline.reporting.typeset import Part
from pipeline.settings.params import Params
from pipeline.settings.tables import Benchmarks

DATA = [
    "run", "model", "dataset", "epochs", "seeds", "accuracy_mean", "accuracy_std", "published_accuracy", "source",
    "note", "difference",
]  # fmt: skip
SHOWN = [RUN, MODEL, DATASET, ACCURACY, PUBLISHED_ACCURACY, DIFFERENCE, N, EPOCHS, SOURCE]
ENSEMBLE = (
    "An ensemble is one result of the networks of all seeds of a run, which add up the lengths of their class "
    "capsules. It has no spread, and compares only with other ensembles."
)


def benchmarks(entry: Benchmarks, params: Params) -> Table:
    """Build the table. A run with fewer than two scored seeds has a row for its ensemble only if others report one."""
    rows = rows_of(entry.study, entry.run_names(), params)
    single = [
        {**row, "model": f"{listed.protocol}, {row['model']}"} if listed.protocol else row
        for row, listed in zip(rows, entry.runs, strict=True)
    ]
    of_run = {row["run"]: row for row in single}
    ours = [with_published(row, params) for row in single]
    together = [with_published(_ensemble(of_run[run]), params, ensemble=True) for run in entry.ensembles]
    ensembles = [row for row in together if row["seeds"] or "source" in row]
    others = [
        {"model": row.model, "dataset": row.dataset, "published_accuracy": row.accuracy, "source": row.source}
        for row in entry.published
    ]
    lines = [*ours, *ensembles, *others]
    notes = [ENSEMBLE] if ensembles else []
    return assemble(single, frame(lines, DATA), [Part("", cells(lines, SHOWN))], notes)


def _ensemble(row: ScoreRow) -> ScoreRow:
    """Return the row of all seeds of a run together; it has no seeds if there are fewer than two."""
    size = f"ensemble of {row['ensemble']['size']}" if "ensemble" in row else "ensemble"
    accuracy = row["ensemble"]["accuracy"] if "ensemble" in row else float("nan")
    kept = {key: row[key] for key in ("run", "dataset", "epochs")}
    return {**kept, "model": f"{row['model']} ({size})", "seeds": int("ensemble" in row), "accuracy_mean": accuracy}
