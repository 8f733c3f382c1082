"""The MLflow experiment that runs belong to, and the run that `mlflow run` opens around the stages it starts."""

import os
from typing import TYPE_CHECKING

from pipeline.tracking.store import artifacts_uri, does_not_exist, exists_already, refused
from pipeline.tracking.views import describe_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

NAME = "MLFLOW_EXPERIMENT_NAME"


def experiment_id(client: "MlflowClient", name: str, outer: "Run | None") -> str:
    """Return the id of the experiment `name`, created if there is none, or that of the run of `mlflow run`.

    MLFLOW_EXPERIMENT_NAME names another one.

    Raises ValueError if the experiment was deleted: MLflow keeps its name.
    """
    if outer is not None:
        return str(outer.info.experiment_id)
    name = os.environ.get(NAME) or name
    found = client.get_experiment_by_name(name) or _create(client, name)
    if found.lifecycle_stage != "active":
        raise ValueError(
            f"experiment {name!r} was deleted; restore it (`mlflow experiments restore --experiment-id "
            f"{found.experiment_id}`), or choose another name: tracking.experiment in params.yaml, or {NAME}"
        )
    return str(found.experiment_id)


def _create(client: "MlflowClient", name: str) -> "Experiment":
    """Create and describe an experiment, or return the one that another process has created in between."""
    try:
        identity = client.create_experiment(name, artifacts_uri())
    except Exception as error:
        if not exists_already(error) or (found := client.get_experiment_by_name(name)) is None:
            raise
        return found
    created = client.get_experiment(identity)
    describe_experiment(client, created)
    return created


def run_of_mlflow_run(client: "MlflowClient") -> "Run | None":
    """Return the run that `mlflow run` opened and named in MLFLOW_RUN_ID, or None.

    The variable may be left over in a shell and name a run of another store.
    """
    identity = os.environ.get("MLFLOW_RUN_ID")
    if not identity:
        return None
    try:
        run = client.get_run(identity)
    except Exception as error:
        if does_not_exist(error) or refused(error):
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None
