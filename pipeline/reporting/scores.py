"""The scores of runs as `evaluate` wrote them, and rows for runs that are not scored yet."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.runtime.made_files import read_json
from pipeline.runtime.paths import METRICS, REPORTS, TUNED
from pipeline.settings.params import Params

ScoreRow = dict[str, Any]


def read_metrics(study: str, runs: Iterable[str]) -> list[ScoreRow]:
    """Read the metrics of the runs that are scored; `seeds` becomes the number of scored networks."""
    rows = []
    for run in runs:
        path = REPORTS / study / METRICS / f"{run}.json"
        if path.is_file():
            metrics = read_json(path, scored_by(run))
            rows.append({**metrics, "seeds": len(metrics["seeds"]), "seed_list": ", ".join(metrics["seeds"])})
    return rows


def rows_of(study: str, runs: Sequence[str], params: Params) -> list[ScoreRow]:
    """Return a row for each run: its metrics, or facts from params.yaml with no seed and no score."""
    scored = {row["run"]: row for row in read_metrics(study, dict.fromkeys(runs))}
    return [scored[run] if run in scored else _not_run(run, params) for run in runs]


def _not_run(name: str, params: Params) -> ScoreRow:
    run = params.base_of(name)
    return {
        "run": name,
        "model": run.label + (", tuned" if name.endswith(TUNED) else ""),
        "dataset": run.dataset,
        "note": "",
        "epochs": run.epochs,
        "settings": run.model_dump(mode="json"),
        "seeds": 0,
        "accuracy_mean": float("nan"),
    }


def scored_by(run: str) -> str:
    """Return the command that trains and scores a run."""
    tuned = run.endswith(TUNED)
    return f"dvc repro evaluate-tuned@{run.removesuffix(TUNED)}" if tuned else f"dvc repro evaluate@{run}"


def rotated_by(run: str) -> str:
    """Return the command that scores a run on rotated images."""
    return f"dvc repro rotate@{run}"


def read_rotations(study: str, run: str) -> pd.DataFrame | None:
    """Read the accuracy of each seed at each angle; None if the run is not scored on rotated images."""
    path = REPORTS / study / METRICS / f"{run}-robustness.csv"
    return pd.read_csv(path) if path.is_file() else None


def costs_path(study: str) -> Path:
    """Return the path of the costs of training in a study, a row for each run and seed."""
    return REPORTS / study / METRICS / "costs.csv"


def read_costs(study: str) -> pd.DataFrame | None:
    """Read the costs of training in a study; None if they are not recorded."""
    path = costs_path(study)
    return pd.read_csv(path, dtype={"commit": str, "remark": str}) if path.is_file() else None


def not_run(rows: Sequence[ScoreRow]) -> list[str]:
    """Return the names of the runs that have no score."""
    return [*dict.fromkeys(row["run"] for row in rows if not row["seeds"])]


def protocol(rows: Sequence[ScoreRow]) -> list[str]:
    """Say which runs are missing, and for the others which networks are scored on which images."""
    missing = not_run(rows)
    said = [f"Not run yet: {', '.join(missing)}. These rows have no result of ours."] if missing else []
    scored = [row for row in rows if row["seeds"]]
    if not scored:
        return said
    tests = ", ".join(dict.fromkeys(f"{row['test_images']:,} of {row['dataset']}" for row in scored))
    counts = [row["seeds"] for row in scored]
    if max(counts) == 1:
        seeds = " or ".join(dict.fromkeys(row["seed_list"] for row in scored))
        ours = f"the network of the final epoch, from one seed ({seeds}), so without a spread,"
    else:
        lists = (row["seed_list"] + (" alone" if row["seeds"] == 1 else "") for row in scored)
        alone = "" if min(counts) > 1 else "; no ± where n is 1"
        seeds = ", or ".join(dict.fromkeys(lists))
        ours = f"the network of the final epoch, mean ± sample standard deviation over n seeds ({seeds}{alone}),"
    return [*said, f"Ours: {ours} scored after training on the test images ({tests})."]


def provenance(rows: Sequence[ScoreRow]) -> str:
    """Say which networks were trained on what hardware, with which versions."""
    runs: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["seeds"]:
            where = f"{row['hardware']}, torch {row['torch']}, Python {row['python']}"
            runs.setdefault(where, {})[row["run"]] = None
    if not runs:
        return "None of these runs is trained yet."
    each = [where if len(runs) == 1 else f"{where}: {', '.join(names)}" for where, names in runs.items()]
    return (
        f"Trained on {'; on '.join(each)}. The dvc.lock of this commit names the data and the settings of every "
        "run, and the code that trained it or that `make prove` found equal to it."
    )
