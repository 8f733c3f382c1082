"""What DVC compares: three scores and one learning curve of each run, in folders that dvc.yaml names as a whole.

`dvc metrics show` and `dvc metrics diff` read reports/scores/, `dvc plots show` and `dvc plots diff` read
reports/curves/. A run that is not scored yet has no file there, so DVC misses none. Everything else about a run is in
reports/<study>/metrics/.
"""

import csv
import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capsnet.files import write_whole
from pipeline.runtime.paths import CURVES, METRICS, REPORTS, SCORE_FILES, SCORES, csv_text


def write_compared(name: str, metrics: Mapping[str, Any], history: str) -> None:
    """Write the scores and the learning curve of a run.

    Args:
        name: The name of the run.
        metrics: What `evaluate` writes about it.
        history: The text of its history.csv.
    """
    scores = {key: metrics[f"{key}_mean"] for key in SCORES if f"{key}_mean" in metrics}
    write_whole(SCORE_FILES / f"{name}.json", json.dumps(scores, indent=2) + "\n")
    write_whole(CURVES / f"{name}.csv", csv_text(mean_history(history)))


def write_missing(study: str) -> None:
    """Write the scores and the curve of every run of a study that was scored but has none."""
    for path in sorted((REPORTS / study / METRICS).glob("*.json")):
        history = path.with_name(f"{path.stem}-history.csv")
        if history.is_file() and not all(file.is_file() for file in compared_files(path.stem)):
            metrics = json.loads(path.read_text(encoding="utf-8"))
            write_compared(path.stem, metrics, history.read_text(encoding="utf-8"))


def compared_files(name: str) -> tuple[Path, Path]:
    """Return the paths of the scores and of the curve of a run."""
    return SCORE_FILES / f"{name}.json", CURVES / f"{name}.csv"


def mean_history(history: str) -> list[dict[str, object]]:
    """Return one row for each epoch: the means over the seeds. A column that a seed lacks is left out."""
    rows = [*csv.DictReader(history.splitlines())]
    columns = [column for column in rows[0] if column not in ("seed", "epoch") and all(row[column] for row in rows)]
    epochs: dict[int, list[dict[str, str]]] = {}
    for row in rows:
        epochs.setdefault(int(row["epoch"]), []).append(row)
    return [
        {"epoch": epoch} | {column: statistics.mean(float(row[column]) for row in of_seeds) for column in columns}
        for epoch, of_seeds in sorted(epochs.items())
    ]
