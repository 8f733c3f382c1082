"""A table of a study: its data, the cells that people read, and the notes that they need."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from pipeline.reporting.scores import ScoreRow, not_run, protocol, provenance, scored_by
from pipeline.reporting.typeset import Cells, Part
from pipeline.settings.params import Params

LOSSES = (
    "RLoss: squared error summed over an image, decoder fed with the predicted class; MLoss: margin loss of an image."
)


class Table(NamedTuple):
    """One table of a study."""

    data: pd.DataFrame
    parts: list[Part]
    notes: list[str]
    provenance: str
    missing: list[str]  # commands that would fill its gaps

    @property
    def cells(self) -> Cells:
        """The cells of the first part; only a table of robustness may have another."""
        return self.parts[0].cells


def assemble(rows: Sequence[ScoreRow], data: pd.DataFrame, parts: Sequence[Part], notes: Sequence[str]) -> Table:
    """Put a table together. Its notes begin with what the numbers are and end with remarks on the data."""
    everything = [*protocol(rows), *notes, *_remarks(rows, data)]
    return Table(data, [*parts], everything, provenance(rows), [scored_by(run) for run in not_run(rows)])


def with_published(row: ScoreRow, params: Params, *, ensemble: bool = False) -> ScoreRow:
    """Add to a row what is published about its run, for single networks or for an ensemble."""
    entry = params.published.get(row["run"])
    if entry is None:
        return row
    losses: ScoreRow = {}
    if ensemble and entry.ensemble_accuracy is not None:
        accuracy = entry.ensemble_accuracy
    elif entry.ensemble == ensemble:
        accuracy = entry.accuracy
        losses = {"published_rloss": entry.rloss, "published_mloss": entry.mloss}
    else:
        return row
    difference = row["accuracy_mean"] - accuracy
    return {**row, **losses, "published_accuracy": accuracy, "source": entry.source, "difference": difference}


def _remarks(rows: Sequence[ScoreRow], data: pd.DataFrame) -> list[str]:
    """Return remarks on published values, on another precision than asked for, and on inexact copies of data."""
    published = "published_accuracy" in data and data["published_accuracy"].notna().any()
    remarks = [
        "Published values are as their sources report them. The reference study does not say which epoch or how many "
        "trainings its values are from; its code scores the test set after every epoch."
    ]
    remarks = (remarks if published else []) + [
        f"{row['run']}: trained in {row['precision']}, because its hardware does not compute {row['instead_of']}."
        for row in rows
        if "instead_of" in row
    ]
    notes = dict.fromkeys(f"{row['dataset']}: {row['note']}" for row in rows if row["note"])
    return remarks + [f"Data: {note}." for note in notes]
