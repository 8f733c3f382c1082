"""The MLflow runs that trained models, found again."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from capsnet.files import md5
from pipeline.tracking.outbox import deliver_left
from pipeline.tracking.recorder import MlflowRecorder
from pipeline.tracking.run_search import PARENT, find_everywhere
from pipeline.tracking.store import open_client, unusable

if TYPE_CHECKING:
    from mlflow import MlflowClient


class RecordedTraining(NamedTuple):
    """The MLflow run of the seed that trained a model, and that of all seeds if it is nested in one."""

    seed: MlflowRecorder
    parent: MlflowRecorder | None


def find_training(model: Path) -> RecordedTraining | None:
    """Return the newest run in the whole store that trained this very file, or None.

    If the store cannot be used, there is only a warning: what was to be recorded is in files already.
    """
    try:
        client = open_client()
        deliver_left(client)
        found = training_of(client, model)
    except Exception as error:  # the store and the network may raise anything
        print(f"warning: {unusable(error)}", file=sys.stderr)
        return None
    if found is None:
        say_missing(model)
    return found


def say_missing(model: Path) -> None:
    """Print that there is no run to which a stage could add its results, and how to get one."""
    print(f"{model}: no MLflow run trained this file; `python -m pipeline.apps.record` records one from the files")


def trainings_of(client: "MlflowClient", models: Mapping[int, Path]) -> dict[int, RecordedTraining]:
    """Return the runs that trained these models, by seed, without the models that no run trained.

    Raises what the store raises.
    """
    found = {seed: training_of(client, path) for seed, path in models.items()}
    return {seed: training for seed, training in found.items() if training is not None}


def training_of(client: "MlflowClient", model: Path) -> RecordedTraining | None:
    """Return the newest run in the whole store that trained this very file, or None. Raises what the store raises."""
    found = find_everywhere(client, {"kind": "seed", "model": md5(model)})
    if not found:
        return None
    run, parent = found[0], found[0].data.tags.get(PARENT)
    return RecordedTraining(
        MlflowRecorder(client, run.info.run_id, run.info.experiment_id),
        MlflowRecorder(client, parent, run.info.experiment_id) if parent else None,
    )
