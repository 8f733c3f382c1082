"""What the stages that draw have in common: they read runs and test images, and write figures."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.drawing.figure import Drawing, save
from pipeline.drawing.subject import Record, Subject
from pipeline.runtime.device import configure_torch
from pipeline.runtime.made_files import read_json
from pipeline.runtime.paths import FIGURES, METRICS, REPORTS
from pipeline.runtime.prepared import read_prepared
from pipeline.runtime.weights import models_of
from pipeline.settings.params import Params
from pipeline.settings.runs import Run
from pipeline.tracking.lookup import find_training


def subjects(runs: Sequence[str], params: Params) -> list[Subject]:
    """Load the networks of runs on one data set, and its test images, onto the device of the first run."""
    first: Run = params.runs[runs[0]]
    hardware = configure_torch(first.device, first.threads)
    test = read_prepared(first.dataset, "test", hardware.device)
    labels = labels_of(runs, params)

    from capsnet.networks.saved import load, read_settings

    loaded = []
    for run in runs:
        models = models_of(run)
        file = next(iter(models.values()))
        loaded.append(
            Subject(
                run=run,
                label=labels[run],
                study=params.runs[run].study,
                test=test,
                labels=test.labels.cpu().numpy(),
                models=models,
                network=load(file).to(hardware.device),
                settings=read_settings(file),
                reported=reported_and_ours(run, params),
            )
        )
    return loaded


def records(runs: Sequence[str], params: Params) -> list[Record]:
    """Return what figures need to know of runs whose networks they do not show."""
    labels = labels_of(runs, params)
    return [Record(run, labels[run], params.runs[run].study, reported_and_ours(run, params)) for run in runs]


def labels_of(runs: Sequence[str], params: Params) -> dict[str, str]:
    """Return the name of each run in the figures: its model, or the name of the run where models are the same."""
    labels = {run: params.runs[run].label for run in runs}
    return labels if len({*labels.values()}) == len(runs) else {run: run for run in runs}


def reported_and_ours(run: str, params: Params) -> dict[str, tuple[float, float]]:
    """Return the RLoss and the accuracy that others report for single networks like those of a run, and our means.

    A score that others do not report, or that the run does not have, is left out.
    """
    entry = params.published.get(run)
    if entry is None or entry.ensemble:
        return {}
    ours = read_json(REPORTS / params.runs[run].study / METRICS / f"{run}.json", f"dvc repro evaluate@{run}")
    theirs = {key: getattr(entry, key) for key in ("rloss", "accuracy")}
    return {
        key: (value, ours[f"{key}_mean"])
        for key, value in theirs.items()
        if value is not None and f"{key}_mean" in ours
    }


def write_figures(
    drawings: Sequence[Drawing],
    name: str,
    study: str,
    drawn: Sequence[Subject],
    params: Params,
    left_out: Sequence[str] = (),
) -> Path:
    """Write drawings into reports/<study>/figures/<name>/, attach them to the runs in MLflow, return the folder.

    `left_out` names what could not be drawn and why, one sentence each.
    """
    manifest = drawn[0].test.manifest
    folder = REPORTS / study / FIGURES / name
    facts = {"dataset": manifest.dataset, "note": manifest.note, "runs": [subject.run for subject in drawn]}
    weights = [str(path) for subject in drawn for path in subject.published_files]
    facts |= {key: listed for key, listed in (("weights", weights), ("left_out", [*left_out])) if listed}
    paths = save(drawings, folder, facts)
    for sentence in left_out:
        print(f"left out: {sentence}")
    for subject in drawn:
        if subject.published_files:
            continue  # nothing was trained here
        training = find_training(next(iter(subject.models.values())))
        if training is not None and training.parent is not None:
            training.parent.attach(*paths, folder=f"figures/{name}")
    return folder
