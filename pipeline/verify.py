"""Compare the tables of a study that was run here with the committed ones.

    python -m pipeline.verify digits

Counts must be equal and accuracies within a point: other hardware rounds differently. Ends with status 1 if they do
not.
"""

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.outputs import MODELS, REPORTS, TABLES, model_files
from pipeline.stage import parser, run_stage

TOLERANCE = 1.0
EQUAL = ("run", "model", "parameters", "decoder_parameters", "epochs", "seeds")


def differences(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[str]:
    """Return what differs between two decoders tables, a line each."""
    if list(ours["run"]) != list(theirs["run"]):
        return [f"runs: got {list(ours['run'])}, expected {list(theirs['run'])}"]
    found = []
    for (_, mine), (_, other) in zip(ours.iterrows(), theirs.iterrows(), strict=True):
        found += [
            f"{other['run']}: {key}: got {mine[key]}, expected {other[key]}" for key in EQUAL if mine[key] != other[key]
        ]
        # Written so that a missing number counts as a difference.
        if not abs(mine["accuracy_mean"] - other["accuracy_mean"]) <= TOLERANCE:
            found.append(
                f"{other['run']}: accuracy: got {mine['accuracy_mean']:.2f} %, expected {other['accuracy_mean']:.2f} % "
                f"within {TOLERANCE:g} point"
            )
    return found


def committed(path: Path, revision: str) -> str:
    """Return a file as it stands in a commit. Raises ValueError if git does not have it."""
    shown = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise ValueError(f"{path}: not in commit {revision}: {shown.stderr.strip()}")
    return shown.stdout


def main(argv: Sequence[str] | None = None) -> None:
    """Compare and say so."""
    made = parser(__doc__, ("STUDY", "a key of `studies` in params.yaml"))
    made.add_argument("--revision", default="HEAD", help="commit to compare with [HEAD]")
    arguments = made.parse_args(argv)
    path = REPORTS / arguments.study / TABLES / "decoders.csv"
    ours = pd.read_csv(path)
    for run in ours["run"]:
        model_files(MODELS / run)  # without models the table is a checked-out file, not a result of this machine
    found = differences(ours, pd.read_csv(io.StringIO(committed(path, arguments.revision))))
    print("\n".join(found) or f"{path}: {len(ours)} runs as committed, accuracies within {TOLERANCE:g} point")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    run_stage(main)
