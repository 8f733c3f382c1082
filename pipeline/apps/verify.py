"""Compare the tables of a study that was run here with the committed tables, number by number.

    python -m pipeline.apps.verify digits

Words and counts must be equal; another precision in the name of a model is only a remark. A mean or a standard
deviation may differ by the root of (a + b) / 2. Here a is the variance over the committed seeds of this run, and b the
average variance of the column. The number of an ensemble of n networks may differ by the root of n times as much. The
column `difference` may differ by the root of 2 times the tolerance of the accuracy.

Another processor only rounds differently; this changes means by a tenth of the spread (LOG.md). A GPU draws other
batches from the same seeds than a CPU; between the two, four standard errors of a difference of means are allowed. The
tolerance for the mean of a column is smaller. If a number differs by more, the exit status is 1.
"""

import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.reporting.scores import scored_by
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.made_files import read_json
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, TABLES, models_in
from pipeline.settings.params import find, load_params

ROWS = ("factor", "value", "run", "degrees")  # the columns that identify a row
DIFFERENCE = "difference"  # between an accuracy and a published one, or that of another run
PRECISION = ", (bfloat16|tf32)"  # in the name of a model
MAKES = {"digits": "make demo", "paper": "make paper"}  # the command that makes a study
OTHER_DRAWS = 4.0  # standard errors


class Compared(NamedTuple):
    """The number of compared values; a line for each fault, and for each difference that is only a remark."""

    values: int
    faults: list[str]
    remarks: list[str]


def compare(name: str, ours: pd.DataFrame, theirs: pd.DataFrame, *, same_draws: bool = True) -> Compared:
    """Compare a table with the committed one.

    Args:
        name: What the table is called in the lines.
        ours: The table that was made here.
        theirs: The committed table.
        same_draws: Both were trained with the same random numbers: on GPUs, or both on CPUs.
    """
    if list(ours.columns) != list(theirs.columns):
        return Compared(0, [f"{name}: columns: got {list(ours.columns)}, expected {list(theirs.columns)}"], [])
    if _labels(ours) != _labels(theirs):
        return Compared(0, [f"{name}: rows: got {_labels(ours)}, expected {_labels(theirs)}"], [])
    allowed = tolerances(theirs, same_draws)
    faults: list[str] = []
    remarks: list[str] = []
    for column in theirs.columns:
        for place, label in enumerate(_labels(theirs)):
            got, expected = ours[column][place], theirs[column][place]
            if column in allowed and (fault := _fault(got, expected, allowed[column][place])):
                faults.append(f"{name}: {label}: {column}: {fault}")
            elif column not in allowed and not _equal(got, expected):
                line = f"{name}: {label}: {column}: got {got}, expected {expected}"
                (remarks if _differ_in_precision(got, expected) else faults).append(line)
        if column.endswith("_mean"):
            got, expected = ours[column].mean(), theirs[column].mean()
            tolerance = math.sqrt(allowed[column].pow(2).mean() / max(1, theirs["run"].nunique()))
            if fault := _fault(got, expected, tolerance):
                faults.append(f"{name}: all runs together: {column}: {fault}")
    return Compared(theirs.size, faults, remarks)


def tolerances(table: pd.DataFrame, same_draws: bool) -> dict[str, "pd.Series[float]"]:
    """Return the difference that is allowed for each number of a committed table, by column.

    The number of an ensemble has no spread of its own, but that of the mean of its run, at the same angle. It is one
    measurement, no mean over n seeds, and may differ by the root of n times as much.
    """
    allowed = {}
    same = [column for column in ("run", "degrees") if column in table]
    for spread in (column for column in table.columns if column.endswith("_std")):
        means = table.dropna(subset=spread).drop_duplicates(same)  # the first row with a spread
        of_mean_row = table[same].merge(means[[*same, spread, "seeds"]], how="left", on=same).set_axis(table.index)
        pooled = math.sqrt(table[spread].pow(2).mean())
        own = of_mean_row[spread].fillna(pooled)
        seeds = of_mean_row["seeds"].fillna(1)
        of_mean = ((own.pow(2) + pooled**2) / 2).pow(0.5)
        is_mean = table[spread].notna()
        tolerance = of_mean.where(is_mean, seeds.pow(0.5) * of_mean)
        allowed[spread] = tolerance if same_draws else OTHER_DRAWS * (2 / seeds).pow(0.5) * tolerance
        allowed[spread.replace("_std", "_mean")] = allowed[spread]
    if DIFFERENCE in table and "accuracy_mean" in allowed:
        allowed[DIFFERENCE] = math.sqrt(2) * allowed["accuracy_mean"]
    return allowed


def _fault(got: float, expected: float, allowed: float) -> str:
    """Return in words by how much a number differs, if it differs by more than allowed or is missing; else empty."""
    if _equal(got, expected) or abs(got - expected) <= allowed:
        return ""
    values = f"got {got:.4g}, expected {expected:.4g}"
    if math.isnan(allowed) or not allowed:
        return f"{values} exactly: it has no spread"
    difference = abs(got - expected)
    excess = (
        "" if math.isnan(difference) else f": the difference is {difference:.2g}, {difference / allowed:.1f} times that"
    )
    return f"{values} within {allowed:.2g}{excess}"


def _equal(got: Any, expected: Any) -> bool:
    return bool(got == expected or (pd.isna(got) and pd.isna(expected)))


def _differ_in_precision(one: Any, other: Any) -> bool:
    """Tell whether two names of a model differ only in the precision that the hardware computed in."""
    first, second = (re.sub(PRECISION, "", str(each)) for each in (one, other))
    return first == second


def _labels(table: pd.DataFrame) -> list[str]:
    """Return a name for each row of a table; a row without a run of ours is named by its model."""
    columns = [column for column in ROWS if column in table]
    rows = [
        " ".join(value if isinstance(value, str) else f"{value:g}" for value in row if pd.notna(value))
        for row in table[columns].to_numpy().tolist()
    ]
    return [label or str(model) for label, model in zip(rows, table.get("model", rows), strict=True)]


def committed(path: Path, revision: str) -> str:
    """Return the text of a file in a commit. Raises ValueError if the commit does not have it."""
    shown = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise ValueError(f"{path}: not in commit {revision}: {shown.stderr.strip()}")
    return shown.stdout


def on_gpus(study: str, runs: Sequence[str], revision: str | None = None) -> list[bool]:
    """Tell for each run whether a GPU trained it, here or in a commit."""
    paths = {run: REPORTS / study / METRICS / f"{run}.json" for run in runs}
    return [
        "cuda" in (json.loads(committed(path, revision)) if revision else read_json(path, scored_by(run)))
        for run, path in paths.items()
    ]


def verify(study: str, kinds: Sequence[str], revision: str) -> Compared:
    """Compare the tables of a study with those of a commit."""
    folder = REPORTS / study / TABLES
    found = Compared(0, [], [])
    for kind in kinds:
        path = folder / f"{kind}.csv"
        text = committed(path, revision)
        theirs, ours = (pd.read_csv(each, dtype={"value": str}) for each in (io.StringIO(text), path))
        runs = list(dict.fromkeys(ours["run"].dropna()))
        for run in runs:
            # Without models the table was checked out of git, not made on this machine.
            if not models_in(MODELS / run):
                command = MAKES.get(study, f"dvc repro report@{study}")
                raise FileNotFoundError(f"{MODELS / run}: no trained models; `{command}` makes this study")
        same_draws = runs == list(dict.fromkeys(theirs["run"].dropna())) and (
            on_gpus(study, runs) == on_gpus(study, runs, revision)
        )
        more = compare(kind, ours, theirs, same_draws=same_draws)
        found = Compared(found.values + more.values, found.faults + more.faults, found.remarks + more.remarks)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print the differences, and end with status 0 or 1."""
    made = parser(__doc__, ("STUDY", "a key of `studies` in params.yaml"))
    made.add_argument("--revision", default="HEAD", help="the commit to compare with [HEAD]")
    arguments = made.parse_args(argv)
    kinds = find(arguments.study, load_params().studies, "study").tables
    found = verify(arguments.study, kinds, arguments.revision)
    for line in (*found.remarks, *found.faults):
        print(line)
    verdict = "all as committed, or within the spread of the seeds"
    if found.faults:
        verdict = f"{len(found.faults)} differ by more than the spread of the seeds"
    print(f"{REPORTS / arguments.study / TABLES}: {found.values} values in {', '.join(kinds)}: {verdict}")
    sys.exit(1 if found.faults else 0)


if __name__ == "__main__":
    run_stage(main)
