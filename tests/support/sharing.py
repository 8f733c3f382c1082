"""Processes that share the study of a search, played by threads and objects of one process."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
from searches import made_search
from sqlalchemy import text

from pipeline.searching.claim import Claim, claim
from pipeline.searching.search import Search
from pipeline.searching.storage import Storage, open_storage
from pipeline.searching.study import open_study

GRACE_HERE = 12  # seconds: nobody dies by itself, however slow the machine is


@contextmanager
def worker(name: str, **changes: Any) -> Iterator[tuple[Search, optuna.Study, Storage]]:
    """A process that shares a study, by its name."""
    search = made_search(name, **changes)
    with open_storage(Path("unused")) as storage:
        yield search, open_study(search, storage.optuna), storage


@contextmanager
def two_workers(**changes: Any) -> Iterator[list[tuple[Search, optuna.Study, Storage]]]:
    with ExitStack() as stack:
        yield [stack.enter_context(worker(name, **changes)) for name in ("one", "two")]


def claimed(of: tuple[Search, optuna.Study, Storage]) -> Claim:
    found = claim(*of)
    assert found is not None
    return found


def heartbeat_of(storage: Storage, claim: Claim) -> str:
    with storage.optuna.engine.begin() as connection:
        query = text("select heartbeat from trial_heartbeats where trial_id = :trial")
        return str(connection.execute(query, {"trial": claim.trial._trial_id}).scalar())


def silence(storage: Storage, claim: Claim) -> None:
    """Let the last sign of life of a trial's process be long ago."""
    with storage.optuna.engine.begin() as connection:
        statement = text("update trial_heartbeats set heartbeat = '2000-01-01 00:00:00' where trial_id = :trial")
        connection.execute(statement, {"trial": claim.trial._trial_id})


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]
