"""Making a sqlite store, whole or not at all; and setting aside one that MLflow itself left half made."""

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

HALF_MADE = ".half-made"  # what the name of a store that was set aside ends with
SETTLED = 30.0  # seconds without a change after which nobody is making a store any more


def sqlite_uri(file: Path) -> str:
    """Return the URI of a sqlite file.

    Its path is absolute, unless MLflow or SQLAlchemy would decode something in the folder's name.
    """
    path = str(file)
    return f"sqlite:///{os.path.relpath(path) if '?' in path or unquote(path) != path else path}"


def make_store(file: Path) -> None:
    """Make an empty store beside `file`, and rename it: a full disk or a kill leaves no half-made one.

    The caller holds the lock of the store. Raises what sqlite and the disk raise.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = file.with_name(f"{file.name}.new")
    remove_database(new)  # a process was killed while it made it
    try:
        SqlAlchemyStore(sqlite_uri(new), str(file.parent / "mlruns"))  # type: ignore[no-untyped-call]
        new.replace(file)
    finally:
        remove_database(new)


def remove_database(file: Path) -> None:
    """Remove a sqlite file with its journal, if they are there."""
    for name in (file.name, f"{file.name}-journal"):
        with suppress(OSError):
            file.with_name(name).unlink(missing_ok=True)


def set_half_made_aside(file: Path) -> Path | None:
    """Rename a store that MLflow began to make and never can finish; return its new path, or None.

    A store with a run in it stays, and so does one that has just changed: another process may be making it.
    """
    if not file.is_file() or time.time() - file.stat().st_mtime < SETTLED or not is_half_made(file):
        return None
    aside = file.with_name(file.name + HALF_MADE)
    while aside.exists():
        aside = aside.with_name(aside.name + "+")
    remove_database(file.with_name(f"{file.name}-journal"))
    return file.rename(aside)


def is_half_made(file: Path) -> bool:
    """Tell whether a database has tables, but neither a run nor the experiment that MLflow adds at the end."""
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
        filled = (connection.execute(f"select 1 from {name}").fetchone() for name in {"runs", "experiments"} & tables)
        return bool(tables) and not any(filled)
