"""Where Optuna keeps the trials of a search: a journal file, or the database that CAPSNET_OPTUNA_STORAGE names.

A journal belongs to one process at a time. A database may be shared: a lock keeps two processes from claiming trials at
once, and each process reports again and again that it is alive.
"""

import hashlib
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from capsnet.files import write_whole
from pipeline.runtime.locks import lock
from pipeline.runtime.masking import first_line, masked

STORAGE = "CAPSNET_OPTUNA_STORAGE"
GRACE = "CAPSNET_OPTUNA_GRACE"
USUAL_GRACE = 120  # seconds
LONGEST_CLAIM = "60s"  # after that the database gives the lock to the next process
PSYCOPG = ("psycopg", "psycopg2")


class Storage(NamedTuple):
    """Optuna's storage, and what it takes to share it."""

    optuna: BaseStorage
    url: URL | None  # None: a journal
    words: str  # for the user: its place, without a login
    grace: int  # seconds without a sign of life after which a process counts as dead

    @property
    def shared(self) -> bool:
        """Whether other processes may work on the same study."""
        return self.url is not None

    @contextmanager
    def exclusive(self, what: str) -> Iterator[None]:
        """Let only one process at a time into the block, of those that use this storage and give the same `what`."""
        if self.url is None:
            yield
        else:
            with _exclusive(self.url, what):
                yield

    @contextmanager
    def alive(self, trial: Trial) -> Iterator[None]:
        """Report again and again during the block that the process of a trial is alive."""
        if self.url is None:
            yield
            return
        ended = threading.Event()

        def say_so() -> None:
            while not ended.wait(self.grace / 6):
                with suppress(Exception):  # whatever a driver raises: the next attempt may succeed
                    self.sign_of_life(trial)
            self.optuna.remove_session()

        thread = threading.Thread(target=say_so, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def sign_of_life(self, trial: Trial) -> None:
        """Report that the process of a trial is alive now."""
        if isinstance(self.optuna, RDBStorage):
            self.optuna.record_heartbeat(trial._trial_id)


@contextmanager
def open_storage(journal: Path) -> Iterator[Storage]:
    """Yield the storage that CAPSNET_OPTUNA_STORAGE names, or a journal file that only this process writes.

    Raises ValueError if the storage cannot be opened, or fails later.
    """
    url = os.environ.get(STORAGE)
    if not url:
        mend_journal(journal)
        yield Storage(JournalStorage(JournalFileBackend(str(journal))), None, str(journal), 0)
        return
    grace = _grace()
    try:
        database = _open_database(make_url(url), grace)
    except Exception as error:  # SQLAlchemy, a driver and the server may raise anything
        raise ValueError(
            f"{STORAGE}: {masked(url)} cannot be used: {first_line(error)}; expected the URL of a PostgreSQL or sqlite "
            "database, for instance sqlite:///optuna.db"
        ) from error
    try:
        yield Storage(database, make_url(url), masked(url), grace)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise ValueError(
            f"{STORAGE}: {masked(url)} failed: {first_line(error)}; the same command continues once it works again"
        ) from error
    finally:
        database.remove_session()
        database.engine.dispose()


def mend_journal(journal: Path) -> None:
    """Remove what a killed process left: a lock that Optuna would wait for, and an incomplete last line."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if journal.is_file():
        content = journal.read_bytes()
        if (whole := content[: content.rfind(b"\n") + 1]) != content:
            write_whole(journal, whole)


def _grace() -> int:
    said = os.environ.get(GRACE, str(USUAL_GRACE))
    if not said.isdigit() or int(said) < 1:
        raise ValueError(f"{GRACE}: got {said!r}, expected a whole number of seconds, at least 1")
    return int(said)


def _open_database(url: URL, grace: int) -> RDBStorage:
    """Open a database, with Optuna's tables made if need be: by one process, if several start at once."""
    url.get_dialect()  # raises for what is not installed
    if url.get_backend_name() not in ("postgresql", "sqlite"):
        raise ValueError(f"got {url.get_backend_name()}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("got a database in memory")
    with _exclusive(url, "tables"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of the heartbeat
        return RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs={"pool_pre_ping": True, **_options(url)},
            heartbeat_interval=max(1, grace // 6),
            grace_period=grace,
            heartbeat_stale_trial_callback=_repeat,
        )


def _options(url: URL) -> dict[str, Any]:
    """Return connection options: Optuna compares times that PostgreSQL writes in the time zone of each connection."""
    if url.get_driver_name() in PSYCOPG and "options" not in url.query:
        return {"connect_args": {"options": "-c timezone=UTC"}}
    return {}


def _repeat(study: optuna.Study, trial: Any) -> None:
    """Have the trial of a dead process made again, with the same values and the next number."""
    again = optuna.create_trial(
        state=optuna.trial.TrialState.WAITING, params=trial.params, distributions=trial.distributions
    )
    study.add_trial(again)


@contextmanager
def _exclusive(url: URL, what: str) -> Iterator[None]:
    """Hold a lock in a PostgreSQL database, or on a file beside a sqlite database."""
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database)).resolve()
        # In a folder that does not exist, sqlite fails with a better message.
        with lock(file.with_name(f"{file.name}.lock")) if file.parent.is_dir() else nullcontext():
            yield
        return
    key = int.from_bytes(hashlib.sha256(f"capsnet {what}".encode()).digest()[:8], "big", signed=True)
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            # A process that is suspended while it holds the lock must not stop all others.
            connection.execute(text(f"set local idle_in_transaction_session_timeout = '{LONGEST_CLAIM}'"))
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": key})
            yield
    finally:
        engine.dispose()
