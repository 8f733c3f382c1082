"""Keep the records of a stage until the store has them. A store that cannot be reached ends no training.

Each record is written to the store at once. If that fails, one line says so, and the records wait: in memory, and in a
file under `.scratch/unrecorded/` that outlives the process. They are written when the store answers again, at the end
of the stage, or when a later stage opens the store.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from pipeline.runtime.masking import first_line, masked
from pipeline.runtime.workspace import SCRATCH, root
from pipeline.tracking.delivery import FILES, OPEN, Delivery, GivenRun, NewRun
from pipeline.tracking.killed_runs import end_runs_of_killed
from pipeline.tracking.store import STORE, does_not_exist, misconfigured, open_client, refused, store_uri, unusable

if TYPE_CHECKING:
    from mlflow import MlflowClient

UNRECORDED = "unrecorded"  # the folder of records that wait, in the scratch folder
PATIENCE = 5.0  # seconds that the store may take to answer; after them, one line names it
SHARE = 10  # a failed attempt that took t seconds is repeated after t times this
GOES_ON = "the work goes on, and MLflow gets what is missing later, at the latest when another stage records"


@dataclass
class Entry:
    """One thing to record."""

    kind: str
    key: str  # identifies the run: it may have no id yet
    values: dict[str, Any]
    sent: bool = False
    tried: bool = False  # an attempt to write it failed; the store may have it all the same


class Outbox:
    """The records of a run and of the runs nested in it, in their order."""

    def __init__(self, delivery: Delivery | None = None) -> None:
        self.delivery = delivery  # None until the store is open, and after each failure
        self.entries: list[Entry] = []
        self._next_try = 0.0
        self._waiting = Waiting()

    def add(self, kind: str, key: str, values: Mapping[str, Any], *, now: bool = False) -> None:
        """Record something, or keep it until the store can be reached.

        Args:
            kind: What it is: see pipeline.tracking.delivery.
            key: The run.
            values: What the delivery needs.
            now: Try it even if the store has just failed.

        Raises ValueError if a new run needs a store that no waiting makes usable: nothing is lost by then.
        """
        self.entries.append(Entry(kind, key, dict(values)))
        self.send(now=now)

    def send(self, *, now: bool = False) -> None:
        """Write the records that the store does not have, unless it has just failed."""
        if now or time.monotonic() >= self._next_try:
            start = time.monotonic()
            try:
                self._deliver(again=now)
            except Exception as error:  # the store, the network and the disk may raise anything
                if misconfigured(error) and len(self.entries) == 1:  # later it would end a training
                    raise ValueError(unusable(error)) from error
                self.delivery = None
                self._next_try = time.monotonic() + max(1.0, SHARE * (time.monotonic() - start))
                say_once(error)
        if all(entry.sent for entry in self.entries):
            self._waiting.discard()
        else:
            self._waiting.keep(self.entries)

    def opened(self, key: str) -> dict[str, Any]:
        """Return the values of a run's first entry, with its id if the store has it."""
        return next(entry.values for entry in self.entries if entry.key == key)

    def missing(self, key: str) -> bool:
        """Tell whether records of this run wait."""
        return any(entry.key == key and not entry.sent for entry in self.entries)

    def close(self) -> None:
        """Leave the records that still wait to a later process."""
        self._waiting.close()

    def _deliver(self, *, again: bool) -> None:
        if self.delivery is None:
            self.delivery = open_delivery()
        try:
            deliver(self.delivery, self.entries, again=again)
        except Exception as error:
            if not does_not_exist(error):
                raise
            # Another store answers in the place of the one that was lost.
            self.delivery = open_delivery()
            deliver(self.delivery, self.entries, again=again)


def deliver(delivery: Delivery, entries: list[Entry], *, again: bool) -> None:
    """Write the entries that are not in the store; raise what it raises.

    A file that cannot be written does not hold up what follows it: the run still gets its numbers and its status.
    With `again`, files that could not be written before are tried once more.
    """
    for entry in entries:
        if entry.kind == OPEN:
            if entry.key not in delivery.runs:
                _open(delivery, entry, entries)
            entry.sent = True
        elif not entry.sent and (again or not (entry.tried and entry.kind in FILES)):
            _write(delivery, entry)


def _open(delivery: Delivery, entry: Entry, entries: list[Entry]) -> None:
    """Open the run of an entry. If it is created in the place of a run that was lost, all its entries are missing."""
    tried, entry.tried = entry.tried, True
    if delivery.open(entry.key, cast(NewRun | GivenRun, entry.values), sent=entry.sent, tried=tried):
        for other in entries:
            other.sent = other.sent and other.key != entry.key


def _write(delivery: Delivery, entry: Entry) -> None:
    """Write an entry of an open run. Raises what the store raises, unless it is about a file or would be repeated."""
    try:
        delivery.send(entry.kind, entry.key, entry.values)
    except Exception as error:  # the store, the network and the disk may raise anything
        entry.tried = True
        lost = does_not_exist(error)
        if refused(error) or (lost and delivery.runs[entry.key].given):
            entry.sent = True  # it would be refused again
        elif lost or entry.kind not in FILES:
            raise
        say_once(error, of_store=False)
    else:
        entry.sent = True


class Waiting:
    """The file of entries that wait, locked while its process lives; beside it a folder with links to their files."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: IO[str] | None = None
        self._written = 0

    def keep(self, entries: list[Entry]) -> None:
        """Write the entries that are not in the file yet. A disk that is full is no error: they stay in memory."""
        with suppress(OSError):
            if self._path is None or not self._path.exists():  # perhaps another process has written it
                self.close()
                self._written = 0
                folder().mkdir(parents=True, exist_ok=True)
                self._path = folder() / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.jsonl"
            if self._file is None:
                self._file = self._path.open("a")
                fcntl.flock(self._file, fcntl.LOCK_EX)
            for number, entry in enumerate(entries[self._written :], self._written):
                _keep_files(entry, self._path.with_suffix("") / str(number))
                self._file.write(f"\n{json.dumps(asdict(entry))}\n")  # the line before may be torn: a full disk
                self._file.flush()
                self._written += 1

    def discard(self) -> None:
        """Remove the file: the store has everything."""
        self.close()
        if self._path is not None:
            discard(self._path)
            self._path, self._written = None, 0

    def close(self) -> None:
        """Release the file, so that other processes may take it."""
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take
                self._file.close()
            self._file = None


def _keep_files(entry: Entry, folder: Path) -> None:
    """Link the files of an entry into a folder, and let the entry name the links: the stage may move its files.

    An earlier attempt may have linked some or all of them before the disk was full.
    """
    if entry.kind not in FILES or entry.sent:
        return
    kept = []
    for path in map(Path, entry.values["paths"]):
        copy = folder / path.name
        if path != copy:
            folder.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            try:
                copy.hardlink_to(path)
            except OSError:  # on another disk
                shutil.copyfile(path, copy)
        kept.append(str(copy))
    entry.values["paths"] = kept


def open_delivery() -> Delivery:
    """Open the store, and write the records that earlier processes left for it."""
    delivery = Delivery(open_client(), within=answer_in_time)
    deliver_left(delivery.client)
    return delivery


def deliver_left(client: "MlflowClient") -> None:
    """Write the records and end the runs that ended processes left behind. Raises what the store raises."""
    for path in sorted(folder().glob("*.jsonl")):
        with suppress(FileNotFoundError, BlockingIOError), path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists():  # another process has just written it
                continue
            entries = [*_read(file)]
            try:
                deliver(Delivery(client, within=answer_in_time), entries, again=True)
            except Exception as error:  # the store, the network and the disk may raise anything
                if isinstance(error, (KeyError, TypeError)) or refused(error):
                    path.rename(path.with_suffix(".refused"))
                elif not misconfigured(error):
                    raise
                say_once(error)
                continue
            if all(entry.sent for entry in entries):
                names = [entry.values.get("name", "") for entry in entries if entry.kind == OPEN]
                print(f"MLflow: recorded what was missing of {', '.join(names)}", file=sys.stderr)
                discard(path)
    with answer_in_time():
        end_runs_of_killed(client)


def _read(file: IO[str]) -> Iterator[Entry]:
    for line in file:
        with suppress(json.JSONDecodeError):  # an empty line, or one that a kill or a full disk cut off
            yield Entry(**json.loads(line) | {"tried": True})


def folder() -> Path:
    """Return the folder of the records that wait for this store."""
    store = hashlib.sha256(os.environ.get(STORE, "").encode()).hexdigest()[:12]
    return root() / SCRATCH / UNRECORDED / store


def discard(path: Path) -> None:
    """Remove a file of entries with its links, and the folders that are empty then."""
    shutil.rmtree(path.with_suffix(""), ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
        path.parent.parent.rmdir()


_said = threading.Event()  # the one line was printed


def say_once(error: Exception, *, of_store: bool = True) -> None:
    """Warn once in a process: the store cannot be used now, does not get a file, or refuses a record."""
    if refused(error):
        _say(f"MLflow refuses it: {first_line(error)}")
    else:
        _say(f"{unusable(error) if of_store else f'MLflow: {first_line(error)}'}; {GOES_ON}")


def _say(what: str) -> None:
    if not _said.is_set():
        _said.set()
        print(f"warning: {what}", file=sys.stderr)


@contextmanager
def answer_in_time() -> Iterator[None]:
    """Print that the program waits for the store if the block lasts long."""
    what = f"MLflow: {masked(store_uri())} has not answered for {PATIENCE:g} s; {GOES_ON}"
    timer = threading.Timer(PATIENCE, _say, [what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
