"""MLflow runs found again: by their tags, or by the model that they trained."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from capsnet.files import md5
from pipeline.tracking.experiments import experiment_id, run_of_mlflow_run
from pipeline.tracking.recorder import MlflowRecorder
from pipeline.tracking.store import open_client, unusable

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"


class RecordedTraining(NamedTuple):
    """The MLflow run of the seed that trained a model, and that of all seeds if it is nested in one."""

    seed: MlflowRecorder
    parent: MlflowRecorder | None


def find_training(experiment: str, model: Path) -> RecordedTraining | None:
    """Return the newest run that trained this very file, or None: what comes from DVC's cache has no MLflow run.

    If the store cannot be used, there is only a warning: what was to be recorded is in files already.
    """
    try:
        client = open_client()
        identity = experiment_id(client, experiment, run_of_mlflow_run(client))
        found = find_runs(client, identity, {"kind": "seed", "model": md5(model)})
    except Exception as error:  # the store and the network may raise anything
        print(f"warning: {unusable(error)}", file=sys.stderr)
        return None
    if not found:
        print(f"{model}: no MLflow run trained this very file (perhaps it came from a cache)")
        return None
    parent = found[0].data.tags.get(PARENT)
    return RecordedTraining(
        MlflowRecorder(client, found[0].info.run_id, identity),
        MlflowRecorder(client, parent, identity) if parent else None,
    )


def find_runs(client: "MlflowClient", experiment: str, tags: Mapping[str, object]) -> Sequence[Any]:
    """Return the runs of an experiment that have all of these tags, newest first."""
    quoted = {key: f'"{value}"' if "'" in str(value) else f"'{value}'" for key, value in tags.items()}
    query = " and ".join(f"tags.`{key}` = {value}" for key, value in quoted.items())
    return client.search_runs([experiment], query, order_by=["attributes.start_time DESC"])
