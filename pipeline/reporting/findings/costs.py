"""What the table `costs` shows."""

import pandas as pd

from pipeline.drawing.words import listed
from pipeline.settings.tables import Costs


def costs(table: pd.DataFrame, entry: Costs) -> list[str]:
    """Say how many hours of training are recorded, and how long an epoch takes on each kind of hardware."""
    if table.empty:
        return []
    networks = f"{int(table['seeds'].sum())} networks of {len(table)} runs"
    epochs = [f"{_seconds(rows)} on {hardware}" for hardware, rows in table.groupby("hardware", sort=False)]
    return [
        f"{_in_words(table['hours'].sum())} of training are recorded, for {networks}.",
        f"An epoch of a seed takes {listed(epochs)}.",
    ]


def _seconds(table: pd.DataFrame) -> str:
    """Return how long the shortest and the longest epoch take."""
    shortest, longest = (f"{extreme:,.1f}" for extreme in table["seconds_an_epoch"].agg(["min", "max"]))
    return f"{shortest} seconds" if shortest == longest else f"{shortest} to {longest} seconds"


def _in_words(hours: float) -> str:
    """Return a duration in hours, or in minutes if it is below an hour."""
    if hours >= 1:
        return f"{hours:,.1f} hours"
    minutes = max(1, round(60 * hours))
    return f"{minutes} minute{'s' if minutes > 1 else ''}"
