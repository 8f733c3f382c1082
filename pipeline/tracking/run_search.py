"""MLflow runs found by their tags."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT = "mlflow.parentRunId"


def find_runs(client: "MlflowClient", experiment: str, tags: Mapping[str, object]) -> Sequence[Any]:
    """Return the runs of an experiment that have all of these tags, newest first."""
    quoted = {key: f'"{value}"' if "'" in str(value) else f"'{value}'" for key, value in tags.items()}
    query = " and ".join(f"tags.`{key}` = {value}" for key, value in quoted.items())
    return client.search_runs([experiment], query, order_by=["attributes.start_time DESC"])
