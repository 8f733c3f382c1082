"""A short version of a run: part of its data, the first training steps with a stop in the middle, and scores.

The stages `train` and `evaluate` do this, in processes of their own, in a folder with some version of the project's
code. The stages of that version need the options `--set`, `--seeds`, `--resume` and `--out`.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ruamel.yaml import YAML

from capsnet.training.schedules import DEPENDS_ON_EPOCHS
from pipeline.apps.proving.lock_file import CODE
from pipeline.runtime.made_files import existing
from pipeline.runtime.paths import MODELS, model_name, models_in, state_name
from pipeline.runtime.prepared import DATA
from pipeline.runtime.workspace import SCRATCH
from pipeline.settings.params import PARAMS
from pipeline.settings.reading import read_yaml

TICK = 0.01  # seconds between two looks for a checkpoint
# Variables that would make a process work outside its folder.
OUTSIDE = ("DVC_ROOT", "MLFLOW_RUN_ID", "PYTHONSAFEPATH", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class Side(NamedTuple):
    """A folder with one version of the project's code, and what messages call it."""

    words: str
    project: Path
    store: Path  # the folder of its MLflow records


class ShortRun(NamedTuple):
    """How much of a run is trained: one seed, stopped after epoch `stop` and resumed, up to epoch `epochs`.

    With `killed`, it is stopped by a kill. Otherwise it ends at the stop, and is resumed for more epochs, which a
    learning rate that depends on the number of epochs does not allow.
    """

    run: str
    seed: int
    train: np.ndarray  # (N,): indices of training images
    test: np.ndarray  # (M,): indices of test images
    stop: int
    epochs: int
    killed: bool


class StageFailed(Exception):
    """A stage failed; the message is its last line."""


def snapshot(folder: Path) -> None:
    """Copy the present code and settings into a folder, where nobody changes them during the proof."""
    for name in CODE:
        shutil.copytree(name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(PARAMS, folder / PARAMS)


def choose_short_run(run: str, settings: Mapping[str, Any], seeds: list[int], steps: int, images: int) -> ShortRun:
    """Choose images so that each epoch ends with a smaller batch, and epochs so that there are enough steps."""
    with np.load(_array_file(settings["dataset"])) as arrays:
        available = {split: len(arrays[f"{split}_labels"]) for split in ("train", "test")}
    batch, held_out = settings["batch_size"], settings.get("validation", 0.0)  # early runs have no such setting
    trained = max(2, math.ceil(steps / 2)) * batch + math.ceil(batch / 2)
    number = min(available["train"], math.ceil(trained / (1 - held_out)))
    # One batch fewer than that: images that belong together are held out together, so the split is not exact.
    steps_an_epoch = max(1, math.ceil(math.floor(number * (1 - held_out)) / batch) - 1)
    epochs = max(2, math.ceil(steps / steps_an_epoch))
    draw = np.random.default_rng(0)
    train, test = (
        np.sort(draw.permutation(available[split])[:wanted]) for split, wanted in (("train", number), ("test", images))
    )
    killed = settings.get("lr_schedule") in DEPENDS_ON_EPOCHS
    return ShortRun(run, seeds[0], train, test, epochs // 2, epochs, killed)


def put_data(dataset: str, short: ShortRun, project: Path) -> None:
    """Write the images of a short run as the prepared data set of a project."""
    (project / DATA).mkdir(exist_ok=True)
    chosen = {"train": short.train, "test": short.test}
    with np.load(_array_file(dataset)) as arrays:
        held = {name: arrays[name] for name in arrays}
    for name, values in held.items():
        split = name.partition("_")[0]
        if split in chosen:
            held[name] = values[chosen[split]]
    np.savez(project / DATA / f"{dataset}.npz", allow_pickle=False, **held)
    manifest = json.loads((DATA / f"{dataset}.json").read_text(encoding="utf-8"))
    manifest |= {split: len(places) for split, places in chosen.items()}
    (project / DATA / f"{dataset}.json").write_text(json.dumps(manifest), encoding="utf-8")


def put_settings(settings: Mapping[str, Any], project: Path) -> None:
    """Write settings into params.yaml of a project; their keys have dots, as in dvc.lock."""
    path = project / PARAMS
    content = read_yaml(path)
    for key, value in settings.items():
        *parents, last = key.split(".")
        owner = content
        for parent in parents:
            owner = owner.setdefault(parent, {})
        owner[last] = value
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(content, file)


def train(side: Side, short: ShortRun, out: Path) -> list[Path]:
    """Train up to the stop, then resume and train to the end. Return the folders of the results, the end last."""
    stopped, ended = out / "stopped", out / "ended"
    state = state_name(short.seed)
    if short.killed:
        arguments = _training(short, ended, short.epochs, "--set", f"checkpoint_every={short.stop}")
        killed = _kill_at_checkpoint(side, state, *arguments)
        _python(side, f"train {short.run}", *arguments)
        if not killed:
            raise StageFailed(f"{side.words}: train {short.run} ended before it could be killed; use more --steps")
        return [ended]
    _python(side, f"train {short.run}", *_training(short, stopped, short.stop))
    _python(side, f"train {short.run}", *_training(short, ended, short.epochs, "--resume", str(stopped / state)))
    return [stopped, ended]


def score(side: Side, run: str, models: Sequence[Path], out: Path) -> list[Path]:
    """Score copies of the models in each folder, in one process; return the folders with the scores."""
    folders = [out / str(number) for number in range(len(models))]
    for made, folder in zip(models, folders, strict=True):
        folder.mkdir(parents=True)
        for name in [*map(model_name, models_in(made)), "environment.json"]:
            shutil.copyfile(made / name, folder / name)
    calls = [[run, "--out", str(folder)] for folder in folders]
    program = f"import pipeline.evaluate\nfor arguments in {calls!r}: pipeline.evaluate.main(arguments)"
    _python(side, f"evaluate {run}", "-c", program)
    return folders


def trained_folders(run: str) -> list[Path]:
    """Return the folder of the run's models, as a list that is empty if they are not here."""
    folder = MODELS / run
    return [folder.resolve()] if models_in(folder) else []


def _array_file(dataset: str) -> Path:
    arrays, _ = (existing(DATA / f"{dataset}.{kind}", f"dvc repro prepare@{dataset}") for kind in ("npz", "json"))
    return arrays


def _training(short: ShortRun, out: Path, epochs: int, *more: str) -> list[str]:
    """Return the arguments of Python that train a short run."""
    settings = ["--set", f"epochs={epochs}", "--seeds", str(short.seed), "--out", str(out)]
    return ["-m", "pipeline.train", short.run, *settings, *more]


def _kill_at_checkpoint(side: Side, state: str, *arguments: str) -> bool:
    """Start Python in the project of a side, and kill it when it has written its first checkpoint.

    Return whether it was killed: it may fail, or end before the checkpoint is seen.
    """
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=side.project,
        env=_environment(side),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None and not any((side.project / SCRATCH).rglob(state)):
            time.sleep(TICK)
        process.kill()
    return process.returncode == -signal.SIGKILL


def _environment(side: Side) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OUTSIDE} | {
        "PYTHONPATH": str(side.project),
        "MLFLOW_TRACKING_URI": f"sqlite:///{side.store / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _python(side: Side, words: str, *arguments: str) -> None:
    """Run Python in the project of a side. Raises StageFailed if it does not end with status 0."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=side.project,
        env=_environment(side),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"status {ended.returncode}"])[-1]
        raise StageFailed(f"{side.words}: {words} failed: {last}")
