"""Trainings by the stages themselves: in several processes, and as long as there is time."""

import csv
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pipeline.runtime.launch import usable_processes
from tests.gpu.gpu_table import tell
from tests.gpu.workplace import TINY, are_made_up


def processes(settings: dict[str, Any]) -> None:
    """Train an epoch in two processes: over NCCL if there are two GPUs, over gloo on a CPU."""
    run, number = "mnist-fc", usable_processes(2, settings["device"])
    if number < 2:
        tell(f"{run}: an epoch in two processes", "s", None, note="not tried: it needs two GPUs")
        return
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        _stage("train", run, *_changes(settings, epochs=1, processes=number), "--out", folder)
        taken = time.perf_counter() - start
        with (Path(folder) / "history.csv").open(newline="") as file:
            loss = float(next(csv.DictReader(file))["train_loss"])
    verdict = "ok" if math.isfinite(loss) else "failed"
    tell(f"{run}: an epoch in two processes, and the stage's start", "s", taken, verdict, f"loss {loss:.4f}")


def training(settings: dict[str, Any]) -> None:
    """Train the last run for as many epochs as there is time for, and score it."""
    run, epochs, precision = "mnist-deconv_bn", settings["epochs"], settings["precision"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        _stage("train", run, *_changes(settings, epochs=epochs, precision=precision), "--out", folder)
        _stage("evaluate", run, "--out", folder)
        taken = time.perf_counter() - start
        scores = json.loads((Path(folder) / f"{run}.json").read_text(encoding="utf-8"))
    note = f"accuracy {scores['accuracy_mean']:.2f} %, RLoss {scores['rloss_mean']:.2f} after {epochs} epochs, n = 1"
    if are_made_up():
        note += "; images are made up, so these scores say nothing"
    tell(f"{run}, {precision}: {epochs} epochs, scores and start of both stages", "s", taken, note=note)


def _changes(settings: dict[str, Any], **changes: object) -> list[str]:
    changes |= {"seeds": [0], "device": settings["device"], **(TINY if settings["small"] else {})}
    return [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]


def _stage(name: str, *arguments: str) -> None:
    """Run a stage. If it fails, end with its status: the last line of the output is then that of the stage."""
    ended = subprocess.run([sys.executable, "-m", f"pipeline.{name}", *arguments], check=False)
    if ended.returncode:
        sys.exit(ended.returncode)
