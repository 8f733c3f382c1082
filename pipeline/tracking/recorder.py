"""What a stage records while it works, in MLflow or nowhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.runtime.masking import masked_urls
from pipeline.tracking.delivery import (
    ATTACH,
    END,
    KILLED,
    LOG,
    NETWORK,
    OPEN,
    TAG,
    Delivery,
    NewRun,
    given_run,
    milliseconds,
)
from pipeline.tracking.outbox import Outbox, answer_in_time
from pipeline.tracking.store import open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Recorder(Protocol):
    """Takes what a stage records. No failure to record ends a stage."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of one step."""

    def tag(self, values: Mapping[str, object]) -> None:
        """Record tags."""

    def attach(self, *paths: Path, folder: str | None = None) -> None:
        """Record files, in a folder of the run's artifacts."""

    def log_model(self, network: Path) -> None:
        """Record a network's file as a model that MLflow can serve."""


class NoRecorder:
    """Records nothing: another process does."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def tag(self, values: Mapping[str, object]) -> None: ...

    def attach(self, *paths: Path, folder: str | None = None) -> None: ...

    def log_model(self, network: Path) -> None: ...


class MlflowRecorder:
    """Records in one MLflow run. What the store cannot take now is sent later: see pipeline.tracking.outbox."""

    # Whether this process holds the file of what waits until `finish`. For a run that is in the store nobody calls
    # `finish`, so the file is released after each record, and a later process may take it.
    _holds = False

    def __init__(self, client: "MlflowClient", run_id: str, experiment_id: str) -> None:
        """Record in a run that is in the store."""
        self._outbox = Outbox(Delivery(client, within=answer_in_time))
        self._key = run_id
        self._add(OPEN, **given_run(run_id, experiment_id))

    @classmethod
    def of_new_run(cls, key: str, values: NewRun, parent: "MlflowRecorder | None") -> "MlflowRecorder":
        """Record in a run of this stage, `values` from `new_run`; it shares the outbox of its parent.

        Raises ValueError if no waiting makes the store usable.
        """
        recorder = cls.__new__(cls)
        recorder._outbox = parent._outbox if parent else Outbox()
        recorder._key = key
        recorder._holds = True
        recorder._add(OPEN, **values)
        return recorder

    @property
    def key(self) -> str:
        """What identifies the run before it has an id."""
        return self._key

    @property
    def id(self) -> str:
        """The id of the run; empty as long as the store has not answered."""
        return str(self._outbox.opened(self._key)["id"] or "")

    @property
    def client(self) -> "MlflowClient":
        """A client of the store."""
        delivery = self._outbox.delivery
        return delivery.client if delivery else open_client()

    @property
    def waits(self) -> bool:
        """Whether something of this run still waits for the store."""
        return self._outbox.missing(self._key)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of one step, unless an earlier process has recorded that step."""
        self._add(LOG, step=step, metrics={name: float(value) for name, value in values.items()}, time=milliseconds())

    def tag(self, values: Mapping[str, object]) -> None:
        """Record tags, without passwords."""
        self._add(TAG, tags={name: masked_urls(value) for name, value in values.items()})

    def attach(self, *paths: Path, folder: str | None = None) -> None:
        """Record files, in a folder of the run's artifacts."""
        self._add(ATTACH, paths=[str(path.resolve()) for path in paths], folder=folder)

    def log_model(self, network: Path) -> None:
        """Record a network's file as a model that MLflow can serve."""
        self._add(NETWORK, paths=[str(network.resolve())])

    def finish(self, status: str, *, last: bool) -> None:
        """Set the final status: FINISHED, FAILED or KILLED.

        With `last`, records that wait are tried once more, and then left to a later process.
        """
        now = last and status != KILLED  # a user who interrupts a stage does not want to wait for a store
        self._add(END, now=now, status=status, time=milliseconds())
        if last:
            self._outbox.close()

    def history(self, metric: str) -> list[float]:
        """Return the last value of a metric at each step, in the order of the steps."""
        found = sorted(self.client.get_metric_history(self.id, metric), key=lambda each: (each.step, each.timestamp))
        return [*{each.step: float(each.value) for each in found}.values()]

    def tag_value(self, name: str) -> str:
        """Return the value of a tag; empty if there is no such tag."""
        return str(self.client.get_run(self.id).data.tags.get(name, ""))

    def _add(self, kind: str, now: bool = False, **values: Any) -> None:
        self._outbox.add(kind, self._key, values, now=now)
        if not self._holds:
            self._outbox.close()
