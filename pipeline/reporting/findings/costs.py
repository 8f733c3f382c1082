"""What the table `costs` shows."""

import pandas as pd

from pipeline.settings.tables import Costs


def costs(table: pd.DataFrame, entry: Costs) -> list[str]:
    """Say how long training took in total, and which epochs are the shortest and the longest."""
    if table.empty:
        return []
    seconds = table["seconds_an_epoch"]
    slowest, fastest = (table.loc[place] for place in (seconds.idxmax(), seconds.idxmin()))
    networks = f"{int(table['seeds'].sum())} networks of {len(table)} runs"
    said = [f"Training took {_in_words(table['hours'].sum())} in total, for {networks}."]
    if len(table) > 1:
        said.append(
            f"An epoch takes between {fastest['seconds_an_epoch']:,.1f} seconds ({fastest['run']}) and "
            f"{slowest['seconds_an_epoch']:,.1f} seconds ({slowest['run']})."
        )
    return said


def _in_words(hours: float) -> str:
    """Return a duration in hours, or in minutes if it is below an hour."""
    if hours >= 1:
        return f"{hours:,.1f} hours"
    minutes = max(1, round(60 * hours))
    return f"{minutes} minute{'s' if minutes > 1 else ''}"
