"""MLflow runs found by their tags, in an experiment or in the whole store."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"


def find_runs(client: "MlflowClient", experiment: str, tags: Mapping[str, object]) -> "Sequence[Run]":
    """Return the runs of an experiment that have all of these tags, newest first."""
    return _search(client, [experiment], tags)


def find_everywhere(client: "MlflowClient", tags: Mapping[str, object], status: str = "") -> "Sequence[Run]":
    """Return the runs of all experiments that have all of these tags and this status, if one is given, newest first."""
    return _search(client, [each.experiment_id for each in client.search_experiments()], tags, status)


def _search(
    client: "MlflowClient", experiments: list[str], tags: Mapping[str, object], status: str = ""
) -> "Sequence[Run]":
    quoted = {key: f'"{value}"' if "'" in str(value) else f"'{value}'" for key, value in tags.items()}
    conditions = [f"tags.`{key}` = {value}" for key, value in quoted.items()]
    query = " and ".join(conditions + ([f"attributes.status = '{status}'"] if status else []))
    return client.search_runs(experiments, query, order_by=["attributes.start_time DESC"])
