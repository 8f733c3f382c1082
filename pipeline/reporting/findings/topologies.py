"""What the table `topologies` shows."""

import pandas as pd

from pipeline.drawing.words import listed, signed
from pipeline.reporting.findings.shared import missing, percent, scored
from pipeline.reporting.tables.columns import difference
from pipeline.settings.tables import Topologies


def topologies(table: pd.DataFrame, entry: Topologies) -> list[str]:
    """Say which settings change the accuracy by more than the seeds do."""
    said = missing(table)
    table = scored(table)
    if entry.base not in set(table["run"]):
        return [*said, f"All runs are compared with {entry.base}, which is missing."]
    base = table[table["run"] == entry.base].iloc[0]
    said.append(f"{entry.base}, from which each run differs in one setting, recognises {percent(base)}.")
    others = table[table["run"] != entry.base]
    if others.empty:
        return said
    spreads = others["accuracy_std"] + base["accuracy_std"]
    if (strongest := headline(table, entry)) and spreads.notna().any():
        said.append(strongest)
        changes = _changes(others, base)
        beyond = [place for place in others.index if abs(changes[place]) > spreads[place]]
        names = listed(f"{_name(others.loc[place])} ({signed(changes[place])})" for place in beyond)
        rest = "; the others do not" if 0 < len(beyond) < len(others) else ""
        said.append(
            f"These settings change the accuracy by more than the standard deviations of both runs together: {names}"
            f"{rest}."
            if beyond
            else "No setting changes the accuracy by more than the standard deviations of both runs together."
        )
    elif strongest:
        said.append(strongest)
    return said


def headline(table: pd.DataFrame, entry: Topologies) -> str:
    """Return the finding of the table in one sentence; nothing if the base or all other runs are not scored."""
    done = scored(table)
    others = done[done["run"] != entry.base]
    if others.empty or len(others) == len(done):
        return ""
    changes = _changes(others, done[done["run"] == entry.base].iloc[0])
    largest = changes.abs().idxmax()
    return (
        f"Of {len(others)} settings, {_name(others.loc[largest])} changes the accuracy most: by "
        f"{signed(changes[largest])} points."
    )


def _changes(others: pd.DataFrame, base: "pd.Series[float]") -> "pd.Series[float]":
    return others["accuracy_mean"].map(lambda accuracy: difference(accuracy, base["accuracy_mean"]))


def _name(row: "pd.Series[str]") -> str:
    return f"{row['factor']} {row['value']}"
