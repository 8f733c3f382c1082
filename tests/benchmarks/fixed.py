"""Costs that do not depend on how long a training is: starting Python, importing, asking DVC, recording in MLflow."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

PYTHON = sys.executable
TARGET = "report@digits"
DIGITS = Path("data/digits.npz")
COMMANDS = {
    "start Python": (PYTHON, "-c", "pass"),
    "import capsnet": (PYTHON, "-c", "import capsnet"),
    "import capsnet.training.loop, with torch": (PYTHON, "-c", "import capsnet.training.loop"),
    "python -m pipeline.train --help": (PYTHON, "-m", "pipeline.train", "--help"),
}
# Of a whole `python -m pipeline.train digits-fc` with one epoch and one seed, as `stage_cost` tells them apart.
STAGE = {
    "total": "train digits-fc, one seed, one epoch",
    "outside": "of this: all but the steps of the epoch",
    "first_step": "of this: until the first step",
    "tracking": "of this: calls that record in MLflow",
    "untracked": "the same stage recording nothing",
}


class Cost(NamedTuple):
    """Seconds, measured n times, or a word on why not."""

    what: str
    seconds: Sequence[float]
    note: str = ""

    def row(self) -> dict[str, object]:
        """Return the row of fixed.csv."""
        if not self.seconds:
            return {"cost": self.what, "seconds": None, "low": None, "high": None, "n": 0, "note": self.note}
        low, middle, high = (f"{of(self.seconds):.4f}" for of in (min, median, max))
        return {
            "cost": self.what, "seconds": middle, "low": low, "high": high, "n": len(self.seconds), "note": self.note,
        }  # fmt: skip


def fixed_costs(threads: int, times: int) -> list[Cost]:
    """Measure them all, each `times` times after one time that does not count."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    costs = [
        Cost(what, [_seconds(command, environment) for _ in range(times + 1)][1:]) for what, command in COMMANDS.items()
    ]
    return [*costs, _nothing_to_do(environment, times), *_stage(environment, times)]


def _seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _nothing_to_do(environment: Mapping[str, str], times: int) -> Cost:
    """Time `dvc repro` where all is made: a dry run tells, and leaves everything as it is."""
    what, command = f"dvc repro {TARGET}, all made before", (PYTHON, "-m", "dvc", "repro", TARGET)
    dry = subprocess.run([*command, "--dry"], env=environment, capture_output=True, text=True, check=False)
    if dry.returncode or "Running stage" in dry.stdout:
        return Cost(what, [], "not measured: dvc.lock is not current here")
    return Cost(what, [_seconds(command, environment) for _ in range(times)])


def _stage(environment: Mapping[str, str], times: int) -> list[Cost]:
    """Time a stage with a tracking store, scratch and output of its own; the first time, which makes the store, is not
    counted.
    """
    if not DIGITS.is_file():
        return [Cost(STAGE["total"], [], f"not measured: no {DIGITS}, `make demo` makes it")]
    measured: dict[str, list[float]] = {key: [] for key in STAGE}
    with tempfile.TemporaryDirectory() as folder:
        apart = {**environment, "DVC_ROOT": folder, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        for time_of in range(times + 1):
            tracked = _stage_once(apart, folder, "tracked")
            untracked = _stage_once(apart, folder, "untracked")
            if time_of:
                for key, seconds in {**tracked, "untracked": untracked["total"]}.items():
                    measured[key].append(seconds)
    return [Cost(what, measured[key]) for key, what in STAGE.items()]


def _stage_once(environment: Mapping[str, str], folder: str, recording: str) -> dict[str, float]:
    start = time.perf_counter()
    command = [PYTHON, "-m", "tests.benchmarks.stage_cost", str(start), recording, f"{folder}/out"]
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    total = time.perf_counter() - start
    told = json.loads(ended.stdout.splitlines()[-1])
    return {
        "total": total,
        "outside": total - told["epoch"],
        "first_step": told["first_step"],
        "tracking": told["tracking"],
    }
