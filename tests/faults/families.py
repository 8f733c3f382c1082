"""The families of faults: each is done in a process of its own, and yields rows of reports/faults.csv."""

import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from store_faults import FAULTS

from pipeline.runtime.masking import first_line
from tests.faults.at_once import at_once, same_at_once
from tests.faults.damages import damaged_inputs
from tests.faults.folders import folders
from tests.faults.growth import growth
from tests.faults.kills import kills
from tests.faults.result import Fault

SEED = 0
KILLS = {signal.SIGKILL: 34, signal.SIGTERM: 33, signal.SIGINT: 33}
DAMAGES = 100_000
EPOCHS = 200
FEWEST = 3  # kills: one of each victim

Family = Callable[[Path, float], Iterator[Fault]]


def _kills(number: signal.Signals, folder: Path, share: float) -> Iterator[Fault]:
    yield kills(folder, max(FEWEST, round(share * KILLS[number])), number)


def _folders(folder: Path, share: float) -> Iterator[Fault]:
    yield from folders(folder)


def _inputs(folder: Path, share: float) -> Iterator[Fault]:
    yield from damaged_inputs(folder, round(share * DAMAGES), SEED)


def _at_once(folder: Path, share: float) -> Iterator[Fault]:
    yield at_once(folder, 8)
    yield same_at_once(folder, 4)


def _growth(folder: Path, share: float) -> Iterator[Fault]:
    yield growth(folder, EPOCHS)


def _store(folder: Path, share: float) -> Iterator[Fault]:
    for name, fault in FAULTS.items():
        happened, lost = fault(1)
        yield Fault(name, 1, happened, lost, "tests/pipeline/tracking/test_store_faults.py")


FAMILIES: dict[str, Family] = {
    "kill": partial(_kills, signal.SIGKILL),
    "term": partial(_kills, signal.SIGTERM),
    "int": partial(_kills, signal.SIGINT),
    "folders": _folders,
    "inputs": _inputs,
    "store": _store,
    "at-once": _at_once,
    "growth": _growth,
}


def rows_of(name: str, share: float) -> list[Fault]:
    """Do the faults of a family, and return its rows."""
    began = time.monotonic()
    rows: list[Fault] = []
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        try:
            for row in FAMILIES[name](Path(folder).resolve(), share):
                rows.append(row)
                print(f"{row.fault}: {row.times} times: {row.happened}; lost: {row.lost}", flush=True)
        except Exception as error:  # the rows of the other families are worth having
            traceback.print_exc()
            what = f"{type(error).__name__}: {first_line(error)}"
            rows.append(Fault(f"{name}: stopped before its end", 0, "not tried", what, f"tests/faults ({name})"))
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return rows
