"""What a stage records while it works, in MLflow or nowhere."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.runtime.masking import first_line, masked
from pipeline.tracking.mlflow_model import log_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "model"  # the name of a run's network in MLflow


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
    """Records nothing: another process does, or MLflow cannot be reached."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def tag(self, values: Mapping[str, object]) -> None: ...

    def attach(self, *paths: Path, folder: str | None = None) -> None: ...

    def log_model(self, network: Path) -> None: ...


class MlflowRecorder:
    """Records in one MLflow run. The first call that fails prints a warning; later ones do nothing."""

    def __init__(self, client: "MlflowClient", run_id: str, experiment_id: str) -> None:
        self.client = client
        self.id = run_id
        self.experiment_id = experiment_id
        self.failed = False
        self._steps: set[int] = set()  # recorded ones: MLflow would show a step of a resumed run twice

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record metrics of one step, unless that step is recorded already."""
        if self.failed or step in self._steps:
            return
        from mlflow.entities import Metric

        self._steps.add(step)
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._try(lambda: self.client.log_batch(self.id, metrics=metrics))

    def tag(self, values: Mapping[str, object]) -> None:
        """Record tags, without passwords."""
        from mlflow.entities import RunTag

        tags = [RunTag(name, masked(str(value))) for name, value in values.items()]
        self._try(lambda: self.client.log_batch(self.id, tags=tags))

    def attach(self, *paths: Path, folder: str | None = None) -> None:
        """Record files, in a folder of the run's artifacts."""

        def record() -> None:
            for path in paths:
                self.client.log_artifact(self.id, str(path), folder)

        self._try(record)

    def log_model(self, network: Path) -> None:
        """Record a network's file as a model that MLflow can serve."""
        self._try(lambda: log_model(self.client, self.id, network, MODEL))

    def resume(self, metric: str) -> None:
        """Continue a run that was left open. A step that has a value of `metric` counts as recorded."""
        self._try(lambda: self._steps.update(each.step for each in self.client.get_metric_history(self.id, metric)))
        self._try(lambda: self.client.update_run(self.id, status="RUNNING"))

    def finish(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self._try(lambda: self.client.set_terminated(self.id, status))

    def history(self, metric: str) -> list[float]:
        """Return the last value of a metric at each step, in the order of the steps."""
        found = sorted(self.client.get_metric_history(self.id, metric), key=lambda each: (each.step, each.timestamp))
        return [*{each.step: float(each.value) for each in found}.values()]

    def tag_value(self, name: str) -> str:
        """Return the value of a tag; empty if there is no such tag."""
        return str(self.client.get_run(self.id).data.tags.get(name, ""))

    def _try(self, call: Callable[[], object]) -> None:
        if self.failed:
            return
        try:
            call()
        except Exception as error:  # the store, the network and the disk may raise anything
            self.failed = True
            warn(error)


def warn(error: Exception) -> None:
    """Warn that a run is not recorded any further."""
    message = f"warning: MLflow: {first_line(error)}; this run is no longer recorded, but its files are written"
    print(message, file=sys.stderr)
