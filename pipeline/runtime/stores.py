"""The stores that a user may name by URL: where they are, and messages about them without anybody's password.

MLflow's is `mlflow.db` with `mlartifacts/` beside it in the project's top folder, unless MLFLOW_TRACKING_URI names
another; Optuna's is a journal file, unless CAPSNET_OPTUNA_STORAGE names one.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import url2pathname

from pipeline.runtime.scratch import root

TRACKING = "MLFLOW_TRACKING_URI"
OPTUNA = "CAPSNET_OPTUNA_STORAGE"
ARTIFACTS = "mlartifacts"
URLS = (TRACKING, OPTUNA, "MLFLOW_REGISTRY_URI", "MLFLOW_BACKEND_STORE_URI", "CAPSNET_MIRROR")
LOGINS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SECRET_KEYS = r"\w*(?:user|password|passwd|pwd|token|secret|key)\w*"
HIDDEN = "***"


def store() -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, or a sqlite URI in the project's top folder.

    It is absolute unless MLflow or SQLAlchemy would read something into the folder's name.
    """
    if chosen := os.environ.get(TRACKING):
        return chosen
    path = str(root() / "mlflow.db")
    return f"sqlite:///{os.path.relpath(path) if '?' in path or unquote(path) != path else path}"


def store_file() -> Path | None:
    """Return the file of a tracking store that is one: sqlite's."""
    if not store().startswith("sqlite:"):
        return None
    from sqlalchemy.engine import make_url

    database = make_url(store()).database
    return Path(database).resolve() if database and database != ":memory:" else None


def bring_artifacts_home(file: Path) -> list[str]:
    """Let experiments keep their artifacts beside their store again, after both were moved; return the old places.

    MLflow notes places as they are when an experiment is made, and has no way to change them. A run's artifacts that
    still lie where they were, and not beside the store, stay there. Raises sqlite3.Error as the store does.
    """
    if not file.is_file():
        return []
    left: dict[str, None] = {}
    with closing(sqlite3.connect(file)) as connection, connection:
        if not connection.execute("select 1 from sqlite_master where name = 'experiments'").fetchone():
            return []
        for identity, noted in connection.execute("select experiment_id, artifact_location from experiments"):
            old = noted or ""
            tail = next((each for each in (ARTIFACTS, f"mlruns/{identity}") if old.endswith(f"/{each}")), None)
            home = (file.parent / tail).as_uri() if tail else old
            if _folder(home) == _folder(old):
                continue
            connection.execute("update experiments set artifact_location = ? where experiment_id = ?", (home, identity))
            runs = connection.execute("select run_uuid, artifact_uri from runs where experiment_id = ?", (identity,))
            moved = [
                (home + uri.removeprefix(old), run)
                for run, uri in runs.fetchall()
                if uri.startswith(f"{old}/")
                and (_folder(home + uri.removeprefix(old)).exists() or not _folder(uri).exists())
            ]
            connection.executemany("update runs set artifact_uri = ? where run_uuid = ?", moved)
            left[str(_folder(old.removesuffix(f"/{tail}")))] = None
    return list(left)


def _folder(location: str) -> Path:
    """Return the folder that MLflow notes as a file URI or as a path."""
    return Path(url2pathname(urlsplit(location).path) if location.startswith("file:") else location)


def masked(text: str) -> str:
    """Return a text without the users and passwords of any URL in it, or in the environment."""
    text = re.sub(r"://(?!/)[^\s'\"]*@", f"://{HIDDEN}@", text)
    text = re.sub(rf"([?&]{SECRET_KEYS}=)[^&\s'\"]*", rf"\1{HIDDEN}", text, flags=re.IGNORECASE)
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def _secrets() -> Iterator[str]:
    """Yield the users and passwords in the environment, as they stand in a URL and as they are meant."""
    found = [os.environ.get(name, "") for name in LOGINS]
    for url in (os.environ.get(name, "") for name in URLS):
        if login := re.search(r"://(?!/)(\S*)@", url):
            found += login[1].partition(":")[::2]
        pairs = parse_qsl(url.partition("?")[2])
        found += [value for key, value in pairs if re.fullmatch(SECRET_KEYS, key, re.IGNORECASE)]
    yield from (each for secret in found for each in (secret, unquote(secret)) if each)


def first_line(error: Exception) -> str:
    """Return what an error says in short, and nothing secret: its first line, or its kind if it says nothing."""
    lines = str(error).strip().splitlines()
    return masked(lines[0])[:200] if lines else type(error).__name__
