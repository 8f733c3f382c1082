"""Words and comparisons that the findings share. Compared numbers are rounded as they are shown."""

from typing import Any

import pandas as pd

from pipeline.drawing.words import listed, signed
from pipeline.reporting.tables.columns import difference, spread

NOT_RUN_YET = "Not run yet: "
SURE = 2  # standard deviations between seeds; means that are not farther apart may be so by chance


def missing(table: pd.DataFrame) -> list[str]:
    """Name the runs of a table that are not scored yet."""
    done = set(scored(table)["run"])
    names = dict.fromkeys(run for run in table["run"].dropna() if run not in done)
    return [f"{NOT_RUN_YET}{listed(names)}."] if names else []


def scored(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with an accuracy of ours."""
    return table[table["accuracy_mean"].notna()]


def highest_and_lowest(table: pd.DataFrame, names: "pd.Series[str]", where: str = "") -> list[str]:
    """Say which mean accuracy is the highest and the lowest, and how far the seeds of one run differ."""
    accuracy, spreads = table["accuracy_mean"].round(2), table["accuracy_std"]
    highest, lowest = accuracy.max(), accuracy.min()
    if highest == lowest:
        seeds = listed(map(str, sorted(table["seeds"].astype(int).unique())))
        verb = "has" if len(table) == 1 else "have"
        return [f"{listed(names)} {verb} a mean accuracy of {highest:.2f} %{where} (n = {seeds})."]
    first, last = names[accuracy == highest], names[accuracy == lowest]
    said = (
        f"{listed(first)} {'has' if len(first) == 1 else 'have'} the highest mean accuracy{where} ({highest:.2f} %), "
        f"{listed(last)} the lowest ({lowest:.2f} %)"
    )
    if spreads.notna().any():
        apart = difference(highest, lowest)
        chance = ", so the order may be chance" if apart <= round(SURE * spreads.max(), 2) else ""
        said += (
            f": {apart:.2f} points apart; the standard deviation between the seeds of one run is "
            f"{_spreads(table)}{chance}"
        )
    return [f"{said}."]


def _spreads(table: pd.DataFrame) -> str:
    """Return the smallest and the largest standard deviation, and the numbers of seeds behind them."""
    known = table[table["accuracy_std"].notna()]
    seeds = listed(map(str, sorted(known["seeds"].astype(int).unique())))
    smallest, largest = (f"{extreme:.2f}" for extreme in known["accuracy_std"].agg(["min", "max"]))
    return f"{smallest if smallest == largest else f'{smallest} to {largest}'} points, n = {seeds}"


def against_published(table: pd.DataFrame, names: "pd.Series[str]", key: str, words: str, unit: str) -> list[str]:
    """Say how far each value is from the published one."""
    both = table.dropna(subset=[f"{key}_mean", f"published_{key}"])
    each = [
        f"{names[place]} {signed(difference(row[f'{key}_mean'], row[f'published_{key}']))} "
        f"(published {row[f'published_{key}']:.2f}{unit})"
        for place, row in both.iterrows()
    ]
    return [f"{words}: {'; '.join(each)}."] if each else []


def of_seeds(row: "pd.Series[Any]", *remarks: str) -> str:
    """Return the number of seeds behind a row, and remarks; empty ones are left out."""
    return "; ".join([f"n = {int(row['seeds'])}", *filter(None, remarks)])


def percent(row: "pd.Series[Any]") -> str:
    """Return the accuracy of a row with its spread."""
    return f"{spread(row['accuracy_mean'], row['accuracy_std'], 2)} %"
