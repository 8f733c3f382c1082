"""Columns of the tables that people read, and the steps from rows to cells.

A row has what `evaluate` scored, and what is published about the run. `Column.text` turns it into the text of one cell;
a column whose cells are all empty is left out. Shown differences are differences of the shown, rounded numbers.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from pipeline.drawing.words import signed
from pipeline.reporting.scores import ScoreRow
from pipeline.reporting.typeset import NOT_RUN, Cells

COUNTS = ("parameters", "decoder_parameters", "epochs", "seeds", "degrees")


class Column(NamedTuple):
    """A column that people read: its title, and the text of its cell in a row."""

    title: str
    text: Callable[[Mapping[str, Any]], str]


def frame(rows: Sequence[ScoreRow], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as the data of a CSV file; counts stay whole numbers even if some are missing."""
    data = pd.DataFrame(rows).reindex(columns=columns)
    return data.astype({column: "Int64" for column in COUNTS if column in columns})


def cells(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Cells:
    """Return a header and a row of text for each row, without columns that are empty in all of them."""
    filled = [(column.title, [column.text(row) for row in rows]) for column in columns]
    kept = [(title, texts) for title, texts in filled if any(texts) or not rows]
    lines = [[texts[number] for _, texts in kept] for number in range(len(rows))]
    return [[title for title, _ in kept], *lines]


def words(title: str, key: str) -> Column:
    """Return a column of words."""
    return Column(title, lambda row: "" if missing(row, key) else str(row[key]))


def count(title: str, key: str) -> Column:
    """Return a column of whole numbers: 1,411,344."""
    return Column(title, lambda row: "" if missing(row, key) else f"{int(row[key]):,}")


def number(title: str, key: str, digits: int) -> Column:
    """Return a column of numbers with a fixed number of digits."""
    return Column(title, lambda row: "" if missing(row, key) else f"{row[key]:,.{digits}f}")


def score(title: str, key: str, digits: int) -> Column:
    """Return a column of means over the seeds, with the standard deviation where there is one."""
    return Column(title, lambda row: spread(row.get(f"{key}_mean"), row.get(f"{key}_std"), digits))


def spread(mean: float | None, std: float | None, digits: int) -> str:
    """Return "mean ± std", the mean alone if there is no standard deviation, and nothing if there is no mean."""
    if mean is None or pd.isna(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if std is None or pd.isna(std) else f" ± {std:.{digits}f}")


def setting(value: object) -> str:
    """Return a setting as params.yaml writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def missing(row: Mapping[str, Any], key: str) -> bool:
    """Say whether a row has no value under a key."""
    return key not in row or bool(pd.isna(row[key]))


def difference(ours: float, theirs: float) -> float:
    """Return the difference of two numbers as they are shown, with two digits each."""
    return round(round(ours, 2) - round(theirs, 2), 2)


def _accuracy(row: Mapping[str, Any]) -> str:
    if row.get("seeds") == 0:
        return NOT_RUN
    return spread(row.get("accuracy_mean"), row.get("accuracy_std"), 2)


def _against(reference: str) -> Callable[[Mapping[str, Any]], str]:
    def text(row: Mapping[str, Any]) -> str:
        if missing(row, "accuracy_mean") or missing(row, reference):
            return ""
        return signed(difference(row["accuracy_mean"], row[reference]))

    return text


RUN = words("Run", "run")
MODEL = words("Model", "model")
DATA = words("Data", "dataset")
SOURCE = words("Source", "source")
N = count("n", "seeds")
EPOCHS = count("Epochs", "epochs")
PARAMETERS = count("Parameters", "parameters")
DECODER_PARAMETERS = count("Decoder parameters", "decoder_parameters")
ACCURACY = Column("Accuracy (%)", _accuracy)
RLOSS = score("RLoss", "rloss", 2)
MLOSS = score("MLoss", "mloss", 4)
PUBLISHED_ACCURACY = number("Accuracy (%), published", "published_accuracy", 2)
PUBLISHED_RLOSS = number("RLoss, published", "published_rloss", 2)
PUBLISHED_MLOSS = number("MLoss, published", "published_mloss", 4)
DIFFERENCE = Column("Difference (points)", _against("published_accuracy"))
DIFFERENCE_TO_BASE = Column("Difference (points)", _against("base_accuracy"))
