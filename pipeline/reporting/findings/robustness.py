"""What the table `robustness` shows."""

import pandas as pd

from pipeline.drawing.words import signed
from pipeline.reporting.findings.shared import missing, percent, scored
from pipeline.reporting.tables.columns import difference
from pipeline.settings.tables import Robustness


def robustness(table: pd.DataFrame, entry: Robustness) -> list[str]:
    """Say how rotated test images change the accuracy of each run, or what its accuracy on hard test images is."""
    said = missing(table)
    for run, rows in scored(table).groupby("run", sort=False):
        if rows["degrees"].isna().all():
            own = rows.iloc[0]
            published = own["published_accuracy"]
            against = ""
            if not pd.isna(published):
                points = signed(difference(own["accuracy_mean"], published))
                against = f", {points} points compared with the published {published:.2f} %"
            said.append(f"{run} recognises {percent(own)} of its test images{against}.")
            continue
        at = _by_angle(rows)
        turned = at.drop(0)
        upside_down = f", and {at[180]:.2f} % upside down" if 180 in at else ""
        below = turned[turned < at[0] / 2]
        half = f"falls below half of that at {below.index[0]}°" if len(below) else "never falls below half of that"
        said.append(
            f"{run} recognises {at[0]:.2f} % of the upright images{_rotated_seeds(rows)}, {turned.iloc[0]:.2f} % at "
            f"{turned.index[0]}°{upside_down}. Its accuracy {half} and is lowest at {at.idxmin()}° ({at.min():.2f} %)."
        )
    return said


def headline(table: pd.DataFrame, entry: Robustness) -> str:
    """Return the finding on the first rotated run in one sentence; nothing if there is none."""
    done = scored(table)
    rotated = done.loc[done["degrees"].notna(), "run"]
    if rotated.empty:
        return ""
    run = rotated.iloc[0]
    at = _by_angle(done[done["run"] == run])
    turned = at.drop(0)
    below = turned[turned < at[0] / 2]
    angle = below.index[0] if len(below) else turned.idxmin()
    some = _rotated_seeds(done[done["run"] == run])
    return (
        f"{run} recognises {at[0]:.2f} % of the upright test images{some}, but {at[angle]:.2f} % if they are rotated "
        f"by {angle}°."
    )


def _rotated_seeds(rows: pd.DataFrame) -> str:
    """Return how many seeds of a run are scored on rotated images, and of how many if it is not all of them."""
    at_angles = rows["degrees"].notna()
    rotated, all_seeds = (int(rows.loc[which, "seeds"].max()) for which in (at_angles, ~at_angles))
    return f" (n = {rotated})" if rotated == all_seeds else f" (n = {rotated} of {all_seeds})"


def _by_angle(rows: pd.DataFrame) -> "pd.Series[float]":
    angles = rows.dropna(subset=["degrees"]).astype({"degrees": int})
    accuracies: pd.Series[float] = angles.set_index("degrees")["accuracy_mean"]
    return accuracies
