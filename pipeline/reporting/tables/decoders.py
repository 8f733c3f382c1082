"""The table `decoders`: losses, accuracy and size of runs, one row for each.

To add a column: name its key in `DATA` for the CSV file, and add a `Column` to `SHOWN` for people. Every key of
reports/<study>/metrics/<run>.json is in the row.
"""

from pipeline.reporting.scores import rows_of
from pipeline.reporting.tables.columns import (
    ACCURACY,
    DECODER_PARAMETERS,
    DIFFERENCE,
    EPOCHS,
    MLOSS,
    MODEL,
    PARAMETERS,
    PUBLISHED_ACCURACY,
    PUBLISHED_MLOSS,
    PUBLISHED_RLOSS,
    RLOSS,
    RUN,
    N,
    cells,
    frame,
)
from pipeline.reporting.tables.table import LOSSES, Table, assemble, with_published
from pipeline.reporting.typeset import Part
from pipeline.settings.params import Params
from pipeline.settings.tables import Decoders

DATA = [
    "run", "model", "parameters", "decoder_parameters", "epochs", "seeds", "rloss_mean", "rloss_std", "mloss_mean",
    "mloss_std", "accuracy_mean", "accuracy_std", "published_rloss", "published_mloss", "published_accuracy",
    "difference",
]  # fmt: skip
SHOWN = [
    RUN, MODEL, ACCURACY, PUBLISHED_ACCURACY, DIFFERENCE, RLOSS, PUBLISHED_RLOSS, MLOSS, PUBLISHED_MLOSS, N, EPOCHS,
    DECODER_PARAMETERS, PARAMETERS,
]  # fmt: skip


def decoders(entry: Decoders, params: Params) -> Table:
    """Build the table."""
    rows = [with_published(row, params) for row in rows_of(entry.study, entry.runs, params)]
    return assemble(rows, frame(rows, DATA), [Part("", cells(rows, SHOWN))], [LOSSES])
