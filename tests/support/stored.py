"""What a sqlite store holds."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def select(store: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows that a statement selects; the connection is closed again."""
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute(statement, values).fetchall()
