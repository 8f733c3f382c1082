"""What the stages that draw have in common: reading what is to be seen, and writing what came out."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.drawing.figure import Drawing, save
from pipeline.drawing.subject import Subject
from pipeline.runtime.device import configure_torch
from pipeline.runtime.paths import FIGURES, REPORTS
from pipeline.runtime.prepared import read_prepared
from pipeline.settings.params import Params
from pipeline.tracking.lookup import find_training


def subjects(runs: Sequence[str], params: Params) -> list[Subject]:
    """Return what is to be seen of runs on one data set, on the device of the first.

    They are called by what is special about their network, or by their names where that is the same.
    """
    first = params.runs[runs[0]]
    hardware = configure_torch(first.device, first.threads)
    test = read_prepared(first.dataset, "test", hardware.device)
    labels = {run: params.runs[run].label for run in runs}
    if len({*labels.values()}) < len(runs):
        labels = {run: run for run in runs}
    return [Subject(run, labels[run], params.runs[run].study, test, _reported(run, params)) for run in runs]


def _reported(run: str, params: Params) -> dict[str, float]:
    """Return what others published about single networks like those of a run: RLoss and accuracy, as far as known."""
    entry = params.published.get(run)
    if entry is None or entry.ensemble:
        return {}
    return {key: value for key in ("rloss", "accuracy") if (value := getattr(entry, key)) is not None}


def publish(
    drawings: Sequence[Drawing],
    name: str,
    study: str,
    seen: Sequence[Subject],
    params: Params,
    left_out: Sequence[str] = (),
) -> Path:
    """Write drawings into reports/<study>/figures/<name>/, attach them to the runs in MLflow, return the folder.

    `left_out` says what could not be drawn, a sentence each.
    """
    manifest = seen[0].test.manifest
    folder = REPORTS / study / FIGURES / name
    facts = {"dataset": manifest.dataset, "note": manifest.note, "runs": [subject.run for subject in seen]}
    weights = [str(path) for subject in seen for path in subject.published_files]
    facts |= {key: said for key, said in (("weights", weights), ("left_out", [*left_out])) if said}
    paths = save(drawings, folder, facts)
    for sentence in left_out:
        print(f"left out: {sentence}")
    for subject in seen:
        if subject.published_files:
            continue  # nothing was trained here
        training = find_training(params.tracking.experiment, next(iter(subject.models.values())))
        if training is not None and training.parent is not None:
            training.parent.attach(*paths, folder=f"figures/{name}")
    return folder
