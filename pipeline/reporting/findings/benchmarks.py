"""What the table `benchmarks` shows."""

import pandas as pd

from pipeline.drawing.words import listed, signed
from pipeline.reporting.findings.shared import highest_and_lowest, missing, of_seeds, percent, scored
from pipeline.reporting.tables.columns import difference
from pipeline.settings.tables import Benchmarks


def benchmarks(table: pd.DataFrame, entry: Benchmarks) -> list[str]:
    """Say for each data set which run is best, and how much an ensemble gains."""
    size = _ensemble_size(table)
    single = _single(table)
    said = missing(table)
    for dataset, rows in single.groupby("dataset", sort=False):
        said += highest_and_lowest(rows, rows["run"], f" on {dataset}")
        epochs = rows["epochs"].astype(int).unique()
        if len(epochs) > 1:
            numbers = listed(f"{number:,}" for number in sorted(epochs))
            said.append(
                f"These runs have {numbers} epochs, and may differ in other settings of training, so this is not a "
                "comparison of networks alone."
            )
    means = single.set_index("run")["accuracy_mean"]
    for place, row in scored(table).iterrows():
        name = row["run"]
        if pd.notna(size[place]):
            name = f"The ensemble of the {size[place]} networks of {row['run']}"
            gain = ""
            if row["run"] in means:
                points = signed(difference(row["accuracy_mean"], means[row["run"]]))
                gain = f", {points} points compared with the mean of the single networks"
            said.append(f"{name} reaches {row['accuracy_mean']:.2f} %{gain}.")
        if pd.notna(row["published_accuracy"]):
            points = signed(difference(row["accuracy_mean"], row["published_accuracy"]))
            said.append(
                f"{name} differs by {points} points from the published {row['published_accuracy']:.2f} % "
                f"({row['source']})."
            )
    return said


def headline(table: pd.DataFrame, entry: Benchmarks) -> str:
    """Return in one sentence the best and the worst run on each data set; nothing if no run is scored."""
    said = []
    for dataset, rows in _single(table).groupby("dataset", sort=False):
        best, worst = (rows.loc[place] for place in (rows["accuracy_mean"].idxmax(), rows["accuracy_mean"].idxmin()))
        reference, note = best["published_accuracy"], best["note"]
        published = "" if pd.isna(reference) else f"published {reference:.2f} %"
        said.append(
            f"{best['run']} ({best['model']}) recognises {percent(best)} of the {dataset} test images "
            f"({of_seeds(best, published, '' if pd.isna(note) else note)})"
        )
        if len(rows) > 1:
            said.append(f"{worst['run']} recognises {percent(worst)} ({of_seeds(worst)})")
    return f"{'; '.join(said)}." if said else ""


def _ensemble_size(table: pd.DataFrame) -> "pd.Series[str]":
    size: pd.Series[str] = table["model"].str.extract(r"\(ensemble of (\d+)\)$", expand=False)
    return size


def _single(table: pd.DataFrame) -> pd.DataFrame:
    return scored(table[table["run"].notna() & _ensemble_size(table).isna()])
