"""Compare the tables of a study that was run here with the committed ones, number by number.

    python -m pipeline.apps.verify digits

Words and counts must be equal. A mean or a standard deviation may be off by the committed seeds' own spread: half of it
that of the number's own seeds, half that of all runs of the column (as variances). On another processor the same seeds
only round differently, which moves means by a tenth of that (LOG.md). A GPU draws other batches from the same seeds;
between a GPU and a CPU four standard errors of a difference of means are allowed. The mean over all runs of a column
may be off by less, as means are. Ends with status 1 if a number is off by more.
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

from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, TABLES, model_files
from pipeline.settings.params import find, load_params

ROWS = ("factor", "value", "run", "degrees")  # what tells the rows of a table apart
DIFFERENCE = "difference"  # of an accuracy to a published one, or to another run's
TOLD = ("precision",)  # what the hardware decides: named, but no fault
PRECISION = ", (bfloat16|tf32)"  # in the label of a model
OTHER_DRAWS = 4.0  # standard errors


class Compared(NamedTuple):
    """What came of a comparison: how many values were compared, what is off, what else is to be known, a line each."""

    values: int
    off: list[str]
    told: list[str]


def compare(name: str, ours: pd.DataFrame, theirs: pd.DataFrame, *, same_draws: bool = True) -> Compared:
    """Compare a table with the committed one."""
    if list(ours.columns) != list(theirs.columns):
        return Compared(0, [f"{name}: columns: got {list(ours.columns)}, expected {list(theirs.columns)}"], [])
    if _labels(ours) != _labels(theirs):
        return Compared(0, [f"{name}: rows: got {_labels(ours)}, expected {_labels(theirs)}"], [])
    allowed = tolerances(theirs, same_draws)
    off: list[str] = []
    told: list[str] = []
    for column in theirs.columns:
        for place, label in enumerate(_labels(theirs)):
            got, expected = ours[column][place], theirs[column][place]
            if column in allowed and (said := _off(got, expected, allowed[column][place])):
                off.append(f"{name}: {label}: {column}: {said}")
            elif column not in allowed and not _equal(got, expected):
                line = f"{name}: {label}: {column}: got {got}, expected {expected}"
                (told if column in TOLD or _differ_in_precision(got, expected) else off).append(line)
        if column.endswith("_mean"):
            got, expected = ours[column].mean(), theirs[column].mean()
            together = math.sqrt(allowed[column].pow(2).mean() / max(1, theirs["run"].nunique()))
            if said := _off(got, expected, together):
                off.append(f"{name}: all runs together: {column}: {said}")
    return Compared(theirs.size, off, told)


def tolerances(table: pd.DataFrame, same_draws: bool) -> dict[str, "pd.Series[float]"]:
    """Return by how much each number of a committed table may be off: one that has no spread has its run's."""
    allowed = {}
    for spread in (column for column in table.columns if column.endswith("_std")):
        stds = table[spread]
        pooled = math.sqrt(stds.pow(2).mean())
        own = stds.groupby(table["run"]).transform("first").fillna(pooled)
        seeds = table["seeds"].where(stds.notna()).groupby(table["run"]).transform("first").fillna(1)
        moderate = ((own.pow(2) + pooled**2) / 2).pow(0.5)
        allowed[spread] = moderate if same_draws else OTHER_DRAWS * (2 / seeds).pow(0.5) * moderate
        allowed[spread.replace("_std", "_mean")] = allowed[spread]
    if DIFFERENCE in table and "accuracy_mean" in allowed:
        allowed[DIFFERENCE] = math.sqrt(2) * allowed["accuracy_mean"]
    return allowed


def _off(got: float, expected: float, allowed: float) -> str:
    """Say by how much a number is off, if it is; one that is not there is as bad."""
    if _equal(got, expected) or abs(got - expected) <= allowed:
        return ""
    said = f"got {got:.4g}, expected {expected:.4g}"
    if math.isnan(allowed) or not allowed:
        return f"{said} exactly: it has no spread"
    off = abs(got - expected)
    how_much = "" if math.isnan(off) else f": off by {off:.2g}, {off / allowed:.1f} times that"
    return f"{said} within {allowed:.2g}{how_much}"


def _equal(got: Any, expected: Any) -> bool:
    return bool(got == expected or (pd.isna(got) and pd.isna(expected)))


def _differ_in_precision(one: Any, other: Any) -> bool:
    """Say whether two labels of a model differ in nothing but the precision that the hardware computes in."""
    first, second = (re.sub(PRECISION, "", str(each)) for each in (one, other))
    return first == second


def _labels(table: pd.DataFrame) -> list[str]:
    """Name the rows of a table; one without a run of ours is named by its model."""
    columns = [column for column in ROWS if column in table]
    rows = [
        " ".join(value if isinstance(value, str) else f"{value:g}" for value in row if pd.notna(value))
        for row in table[columns].to_numpy().tolist()
    ]
    return [label or str(model) for label, model in zip(rows, table.get("model", rows), strict=True)]


def committed(path: Path, revision: str) -> str:
    """Return a file as it stands in a commit. Raises ValueError if git does not have it."""
    shown = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise ValueError(f"{path}: not in commit {revision}: {shown.stderr.strip()}")
    return shown.stdout


def on_gpus(study: str, runs: Sequence[str], revision: str | None = None) -> list[bool]:
    """Say of each run whether a GPU trained it, here or in a commit."""
    paths = [REPORTS / study / METRICS / f"{run}.json" for run in runs]
    texts = [committed(path, revision) if revision else path.read_text(encoding="utf-8") for path in paths]
    return ["cuda" in json.loads(text) for text in texts]


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
            model_files(MODELS / run)  # without models the table is a checked-out file, not a result of this machine
        same_draws = runs == list(dict.fromkeys(theirs["run"].dropna())) and (
            on_gpus(study, runs) == on_gpus(study, runs, revision)
        )
        more = compare(kind, ours, theirs, same_draws=same_draws)
        found = Compared(found.values + more.values, found.off + more.off, found.told + more.told)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Compare and say so."""
    made = parser(__doc__, ("STUDY", "a key of `studies` in params.yaml"))
    made.add_argument("--revision", default="HEAD", help="commit to compare with [HEAD]")
    arguments = made.parse_args(argv)
    kinds = find(arguments.study, load_params().studies, "study").tables
    found = verify(arguments.study, kinds, arguments.revision)
    print("\n".join([*found.told, *found.off]), end="\n" if found.told or found.off else "")
    verdict = f"{len(found.off)} are off" if found.off else "all as committed, or within the spread of its seeds"
    print(f"{REPORTS / arguments.study / TABLES}: {found.values} values in {', '.join(kinds)}: {verdict}")
    sys.exit(1 if found.off else 0)


if __name__ == "__main__":
    run_stage(main)
