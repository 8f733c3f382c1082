"""Where MLflow keeps its runs: `mlflow.db`, with `mlartifacts/` beside it, in the project's top folder.

MLFLOW_TRACKING_URI names another store.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from pipeline.runtime.locks import lock
from pipeline.runtime.masking import first_line, masked
from pipeline.runtime.workspace import SCRATCH, root
from pipeline.tracking.moved_artifacts import correct_artifact_locations
from pipeline.tracking.new_store import make_store, set_half_made_aside, sqlite_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

STORE = "MLFLOW_TRACKING_URI"
ARTIFACTS = "mlartifacts"
# By default MLflow waits for minutes before it calls a server unreachable, and shows a bar for each small file.
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
# A connection of its own for each use of sqlite: none stays open, and none to a file that was deleted.
NO_POOL = ("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
DATABASES = ("postgresql", "mysql")
OWN_ERRORS = (ValueError, LookupError, TypeError, AttributeError)  # what code and files of this project raise
CHATTY = ("alembic", "mlflow", "sqlalchemy", "urllib3")  # packages with log messages that no user needs


def store_uri() -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, or a sqlite URI in the project's top folder."""
    if chosen := os.environ.get(STORE):
        file = make_url(chosen).database if chosen.startswith("sqlite:///") else None
        inside = file and file != ":memory:" and not Path(file).is_absolute()  # relative to the project, in a copy too
        return sqlite_uri(root() / str(file)) if inside else chosen
    return sqlite_uri(root() / "mlflow.db")


def store_file() -> Path | None:
    """Return the file of a sqlite store; None for any other store."""
    if not store_uri().startswith("sqlite:"):
        return None
    database = make_url(store_uri()).database
    return Path(database).resolve() if database and database != ":memory:" else None


def artifacts_uri() -> str | None:
    """Return where the artifacts of new experiments lie; None if the server at the store's address decides.

    Without one, MLflow would take a folder in the working directory: in an experiment of DVC one that is deleted.
    """
    if store_uri().startswith("http"):
        return None
    file = store_file()
    return ((file.parent if file else root()) / ARTIFACTS).as_uri()


def open_client() -> "MlflowClient":
    """Open the store, made if need be. Raises whatever MLflow, the database, the network and the disk raise."""
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)
    file = store_file()
    if file is not None:
        os.environ.setdefault(*NO_POOL)
    from mlflow import MlflowClient  # after that: it reads these variables

    for package in CHATTY:
        logging.getLogger(package).setLevel(logging.CRITICAL)
    if file is None:
        _require_answer(store_uri())
        return MlflowClient(store_uri())
    # Processes that create the same new sqlite store at once destroy it for good.
    with lock(root() / SCRATCH / "mlflow.lock"):
        if aside := set_half_made_aside(file):
            print(f"MLflow: {file} was half made, and holds no run; it is now {aside.name}", file=sys.stderr)
        if not file.exists() or file.stat().st_size == 0:
            make_store(file)
        for old in correct_artifact_locations(file, ARTIFACTS):
            print(f"MLflow: from now on artifacts lie beside {file}, no longer in {old}", file=sys.stderr)
        client = MlflowClient(store_uri())
        client.search_experiments(max_results=1)
    return client


def misconfigured(error: Exception) -> bool:
    """Tell whether waiting cannot help: a wrong address, a missing driver, a deleted experiment."""
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

    # Of ValueError the class itself: it is this project's own; json's says that a server answers with something else.
    wrong_address = (ArgumentError, ImportError, UnsupportedModelRegistryStoreURIException)
    return type(error) is ValueError or isinstance(error, wrong_address)


def does_not_exist(error: Exception) -> bool:
    """Tell whether the store answers that it does not have what it was asked for: a run, for example."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def exists_already(error: Exception) -> bool:
    """Tell whether the store answers that it has what it was asked to create: another process was quicker, perhaps."""
    return getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS"


def refused(error: Exception) -> bool:
    """Tell whether the store answers, and would refuse the same again: a person deleted the run, for example."""
    return getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"


def _require_answer(uri: str) -> None:
    """Raise what a database server raises if it does not answer: MLflow would try it for minutes."""
    if uri.startswith(DATABASES):
        try:
            engine = create_engine(uri, poolclass=NullPool, connect_args={"connect_timeout": 10})
        except ValueError as error:  # the port is no number
            raise ArgumentError(str(error)) from error
        with engine.connect():
            pass


@contextmanager
def one_line_for_store_errors() -> Iterator[None]:
    """Raise what the store, its database or the network raise in the block as a ValueError with one line.

    Errors of this project's own code and files pass as they are: a ValueError, or a KeyError.
    """
    try:
        yield
    except Exception as error:  # the store and the network may raise anything
        if isinstance(error, FileNotFoundError):  # of this project: data that are not prepared, for example
            raise
        if isinstance(error, OWN_ERRORS) and not isinstance(error, OSError):  # requests has ValueErrors that are both
            raise
        raise ValueError(unusable(error)) from error


def unusable(error: Exception) -> str:
    """Return the message for a store that cannot be used."""
    return f"MLflow: {masked(store_uri())} cannot be used: {first_line(error)}"
