"""The table `topologies`: runs that differ from a base run in one setting, in groups by that setting."""

from typing import Any

from pipeline.reporting.scores import ScoreRow, rows_of
from pipeline.reporting.tables.columns import (
    ACCURACY,
    DIFFERENCE_TO_BASE,
    EPOCHS,
    MLOSS,
    PARAMETERS,
    RLOSS,
    RUN,
    N,
    cells,
    frame,
    setting,
    words,
)
from pipeline.reporting.tables.table import LOSSES, Table, assemble
from pipeline.reporting.typeset import Part
from pipeline.settings.params import Params
from pipeline.settings.tables import Topologies, factor

DATA = [
    "factor", "value", "run", "parameters", "epochs", "seeds", "accuracy_mean", "accuracy_std", "rloss_mean",
    "rloss_std", "mloss_mean", "mloss_std", "difference",
]  # fmt: skip
SHOWN = [
    words("Setting", "factor"), words("Value", "value"), RUN, ACCURACY, DIFFERENCE_TO_BASE, RLOSS, MLOSS, N, EPOCHS,
    PARAMETERS,
]  # fmt: skip


def topologies(entry: Topologies, params: Params) -> Table:
    """Build the table; the base run is in each group."""
    base, *rows = rows_of(entry.study, [entry.base, *entry.runs], params)
    groups: dict[str, list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault(factor(_asked(row), _asked(base), row["run"]), [base]).append(row)
    lines = [
        {
            **row,
            "factor": name,
            "value": setting(row["settings"][name]),
            "base_accuracy": base["accuracy_mean"],
            "difference": float(row["accuracy_mean"] - base["accuracy_mean"]),
        }
        for name, members in groups.items()
        for row in _in_order(name, members)
    ]
    notes = [
        LOSSES,
        f"Each run differs from {entry.base} in the one setting of its group, and differences are to that run. It was "
        "trained once, and stands in every group.",
    ]
    return assemble([base, *rows], frame(lines, DATA), [Part("", cells(lines, SHOWN))], notes)


def _in_order(name: str, members: list[ScoreRow]) -> list[ScoreRow]:
    """Return the runs of a group sorted by their setting if it is a number, otherwise as listed."""
    values = [row["settings"][name] for row in members]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return members
    return sorted(members, key=lambda row: float(row["settings"][name]))


def _asked(row: ScoreRow) -> dict[str, Any]:
    """Return the settings of a row as in params.yaml: metrics name the precision that was computed in."""
    return {**row["settings"], "precision": row.get("instead_of", row["settings"]["precision"])}
