"""Where MLflow keeps its runs: `mlflow.db`, with `mlartifacts/` beside it, in the project's top folder.

MLFLOW_TRACKING_URI names another store.
"""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from sqlalchemy.engine import make_url

from pipeline.runtime.locks import lock
from pipeline.runtime.masking import first_line, masked
from pipeline.runtime.workspace import SCRATCH, root
from pipeline.tracking.moved_artifacts import correct_artifact_locations

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE = "MLFLOW_TRACKING_URI"
ARTIFACTS = "mlartifacts"
# MLflow's defaults wait for minutes before they call a server unreachable.
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
CHATTY = ("alembic", "mlflow", "urllib3")  # packages with log messages that no user needs


def store_uri() -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, or a sqlite URI in the project's top folder.

    The path is absolute, unless MLflow or SQLAlchemy would decode something in the folder's name.
    """
    if chosen := os.environ.get(STORE):
        return chosen
    path = str(root() / "mlflow.db")
    return f"sqlite:///{os.path.relpath(path) if '?' in path or unquote(path) != path else path}"


def store_file() -> Path | None:
    """Return the file of a sqlite store; None for any other store."""
    if not store_uri().startswith("sqlite:"):
        return None
    database = make_url(store_uri()).database
    return Path(database).resolve() if database and database != ":memory:" else None


def open_client() -> "MlflowClient":
    """Open the store; create it if it does not exist."""
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient  # after that: it reads these variables

    for package in CHATTY:
        logging.getLogger(package).setLevel(logging.ERROR)
    if not store_uri().startswith("sqlite"):
        return MlflowClient(store_uri())
    # Processes that create the same new sqlite store at once destroy it for good.
    with lock(root() / SCRATCH / "mlflow.lock"):
        file = store_file()
        for old in correct_artifact_locations(file, ARTIFACTS) if file else ():
            print(f"MLflow: from now on artifacts lie beside {file}, no longer in {old}", file=sys.stderr)
        client = MlflowClient(store_uri())
        client.search_experiments(max_results=1)
    return client


def unusable(error: Exception) -> str:
    """Return the message for a store that cannot be used."""
    return f"MLflow: {masked(store_uri())} cannot be used: {first_line(error)}"
