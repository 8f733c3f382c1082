"""The artifacts of a sqlite store that was moved: MLflow stores their absolute location and cannot change it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def correct_artifact_locations(store: Path, folder: str) -> list[str]:
    """Note that experiments keep their artifacts beside their store again; return the old locations.

    Args:
        store: The file of the sqlite store.
        folder: The name of the folder of artifacts beside it.

    The artifacts of a run that still lie at the old location, and not beside the store, stay there. Raises
    sqlite3.Error if the store does.
    """
    if not store.is_file():
        return []
    left: dict[str, None] = {}
    with closing(sqlite3.connect(store)) as connection, connection:
        if not connection.execute("select 1 from sqlite_master where name = 'experiments'").fetchone():
            return []
        for identity, noted in connection.execute("select experiment_id, artifact_location from experiments"):
            old = noted or ""
            tail = next((each for each in (folder, f"mlruns/{identity}") if old.endswith(f"/{each}")), None)
            home = (store.parent / tail).as_uri() if tail else old
            if _path(home) == _path(old):
                continue
            connection.execute("update experiments set artifact_location = ? where experiment_id = ?", (home, identity))
            runs = connection.execute("select run_uuid, artifact_uri from runs where experiment_id = ?", (identity,))
            moved = [
                (home + uri.removeprefix(old), run)
                for run, uri in runs.fetchall()
                if uri.startswith(f"{old}/")
                and (_path(home + uri.removeprefix(old)).exists() or not _path(uri).exists())
            ]
            connection.executemany("update runs set artifact_uri = ? where run_uuid = ?", moved)
            left[str(_path(old.removesuffix(f"/{tail}")))] = None
    return list(left)


def _path(location: str) -> Path:
    """Return a location as a path; MLflow notes a file URI or a path."""
    return Path(url2pathname(urlsplit(location).path) if location.startswith("file:") else location)
