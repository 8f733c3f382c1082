"""The table `costs`: what training took, for the runs of the study whose costs are recorded."""

import pandas as pd

from pipeline.reporting.scores import ScoreRow, read_costs, read_metrics, rows_of
from pipeline.reporting.tables.columns import DATA as DATASET
from pipeline.reporting.tables.columns import EPOCHS, MODEL, RUN, N, cells, count, frame, number, words
from pipeline.reporting.tables.table import Table
from pipeline.reporting.typeset import Part
from pipeline.settings.params import Params
from pipeline.settings.tables import Costs

DATA = [
    "run", "model", "dataset", "epochs", "seeds", "seconds_an_epoch", "hours", "peak_memory_mb", "hardware", "commit",
    "remark",
]  # fmt: skip
SHOWN = [
    RUN, MODEL, DATASET, number("Seconds per epoch", "seconds_an_epoch", 1), EPOCHS, N,
    number("Hours, n seeds", "hours", 2), count("Peak memory (MB)", "peak_memory_mb"), words("Hardware", "hardware"),
    words("Commit", "commit"), words("Remark", "remark"),
]  # fmt: skip
MEANING = (
    "n: the seeds whose costs are recorded. Seconds per epoch: training steps alone, the median epoch of each seed, "
    "averaged over n seeds. Hours: the sum over all epochs of n seeds, slow epochs too. On a GPU the seeds are trained "
    "together and share the time. Memory: the peak of the process with its imports; on a GPU, the peak of its tensors."
)
RECORDED = "`python -m pipeline.apps.costs {study}` took these numbers from MLflow; no stage measures time again."


def costs(entry: Costs, params: Params) -> Table:
    """Build the table: the mean of the seeds of a run for an epoch, and their sum for all epochs."""
    known = read_costs(entry.study)
    recorded = known if known is not None else pd.DataFrame(columns=["run"])
    runs = params.runs_of(entry.study)
    names = [run for run in recorded["run"].unique() if run in runs]
    rows = rows_of(entry.study, names, params)
    lines = [{**row, **_of_seeds(recorded[recorded["run"] == row["run"]])} for row in rows]
    missing = [row["run"] for row in read_metrics(entry.study, runs) if row["run"] not in names]
    notes = [] if lines else ["No cost is recorded yet."]
    notes += [f"Scored, but without recorded costs: {', '.join(missing)}."] if missing else []
    parts = [Part("", cells(lines, SHOWN))]
    return Table(frame(lines, DATA), parts, [*notes, MEANING], RECORDED.format(study=entry.study), [])


def _of_seeds(seeds: pd.DataFrame) -> ScoreRow:
    """Return the cost of a run from those of its seeds."""
    texts = {key: "; ".join(map(str, seeds[key].dropna().unique())) for key in ("hardware", "commit", "remark")}
    return {
        **texts,
        "epochs": seeds["epochs"].max(),
        "seeds": len(seeds),
        "seconds_an_epoch": seeds["seconds_an_epoch"].mean(),
        "hours": seeds["hours"].sum(),
        "peak_memory_mb": seeds["peak_memory_mb"].max(),
    }
