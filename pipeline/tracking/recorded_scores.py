"""Scores and learning curves recorded in the MLflow runs of the models that they belong to."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from pipeline.runtime.paths import SCORES, model_files
from pipeline.tracking.lookup import RecordedTraining, say_missing, trainings_of
from pipeline.tracking.mlflow_model import log_scores
from pipeline.tracking.outbox import deliver_left
from pipeline.tracking.recorder import MlflowRecorder, Recorder
from pipeline.tracking.store import open_client, unusable

SOURCE = "scores"  # the tag that says where the scores of a run come from
NO_METRICS = ("seed", "epoch")  # columns of history.csv


def record_scores(folder: Path, metrics: Mapping[str, Any], source: str) -> None:
    """Add scores to the MLflow runs that trained the models of a folder, wherever in the store they are.

    The scores of a seed belong to its own run, the means to the parent. What a run has is not recorded again.

    Args:
        folder: The models of a run.
        metrics: The contents of its <run>.json.
        source: Where the scores come from: `evaluate`, or a file.
    """
    models = model_files(folder)
    try:
        client = open_client()
        deliver_left(client)
        trainings = trainings_of(client, models)
        record_scores_of(trainings, metrics, source)
    except Exception as error:  # the store and the network may raise anything
        print(f"warning: {unusable(error)}; the scores are in files", file=sys.stderr)
        return
    for seed, path in models.items():
        if seed not in trainings:
            say_missing(path)


def record_scores_of(trainings: Mapping[int, RecordedTraining], metrics: Mapping[str, Any], source: str) -> int:
    """Add scores to the runs of trainings by seed; return how many runs did not have them."""
    added = 0
    for seed, training in trainings.items():
        scores = _test_scores(metrics["seeds"][str(seed)], {key: key for key in SCORES})
        if _add(training.seed, metrics["epochs"], scores, source):
            log_scores(training.seed.client, training.seed.id)
            added += 1
    means = {key: f"{key}_mean" for key in SCORES} | {f"{key}_std": f"{key}_std" for key in SCORES}
    ensemble = {"test_ensemble_accuracy": metrics["ensemble"]["accuracy"]} if "ensemble" in metrics else {}
    for parent in parents_of(trainings.values()):
        added += _add(parent, metrics["epochs"], _test_scores(metrics, means) | ensemble, source)
    return added


def parents_of(trainings: Iterable[RecordedTraining]) -> list[MlflowRecorder]:
    """Return the runs of all seeds, each once."""
    parents = {training.parent.id: training.parent for training in trainings if training.parent is not None}
    return [*parents.values()]


def record_means(parent: Recorder, rows: Sequence[Mapping[str, Any]]) -> None:
    """Record the mean over the seeds of each metric of each epoch, for the curves of a whole run.

    Args:
        parent: The run of all seeds.
        rows: The rows of history.csv.
    """
    epochs = sorted({int(row["epoch"]) for row in rows})
    for epoch in epochs:
        of_epoch = [row for row in rows if int(row["epoch"]) == epoch]
        values = [metrics_of_row(row) for row in of_epoch]
        names = [name for name in values[0] if all(name in each for each in values)]
        parent.log(epoch, {name: mean(each[name] for each in values) for name in names})


def metrics_of_row(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics in a row of history.csv; an empty field is none."""
    present = {name: value for name, value in row.items() if value is not None and value != ""}
    return {name: float(value) for name, value in present.items() if name not in NO_METRICS}


def _add(run: MlflowRecorder, step: int, scores: Mapping[str, float], source: str) -> bool:
    """Record scores and their source, unless the run has these very scores; return whether it did not."""
    present = run.client.get_run(run.id).data.metrics
    if all(present.get(key) == value for key, value in scores.items()):
        return False
    run.log(step, scores)
    run.tag({SOURCE: source})
    return True


def _test_scores(values: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, float]:
    return {f"test_{name}": values[column] for name, column in columns.items() if column in values}
