"""Where Optuna keeps the trials of a search: a journal file, or the storage that CAPSNET_OPTUNA_STORAGE names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from capsnet.files import write_whole
from pipeline.runtime.masking import first_line, masked

STORAGE = "CAPSNET_OPTUNA_STORAGE"


@contextmanager
def open_storage(journal: Path) -> Iterator[BaseStorage]:
    """Yield the storage that CAPSNET_OPTUNA_STORAGE names, or a journal file that only this process writes.

    Raises ValueError if the storage cannot be opened, or fails later.
    """
    url = os.environ.get(STORAGE)
    if not url:
        mend_journal(journal)
        yield JournalStorage(JournalFileBackend(str(journal)))
        return
    try:
        storage = get_storage(url)
    except Exception as error:  # SQLAlchemy, a driver and the server may raise anything
        raise ValueError(
            f"{STORAGE}: {masked(url)} cannot be used: {first_line(error)}; expected the URL of an Optuna storage, "
            "for instance sqlite:///optuna.db"
        ) from error
    try:
        yield storage
    except (SQLAlchemyError, StorageInternalError) as error:
        raise ValueError(
            f"{STORAGE}: {masked(url)} failed: {first_line(error)}; the same command continues once it works again"
        ) from error
    finally:
        storage.remove_session()


def mend_journal(journal: Path) -> None:
    """Remove what a killed process left: a lock that Optuna would wait for, and an incomplete last line."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if journal.is_file():
        content = journal.read_bytes()
        if (whole := content[: content.rfind(b"\n") + 1]) != content:
            write_whole(journal, whole)
