"""What the seeds of one run have in common while they are trained, and how each of them is recorded."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from capsnet.networks.capsnet import NetworkConfig
from pipeline.runtime.prepared import Prepared
from pipeline.runtime.torchrun import Group
from pipeline.settings.params import Params
from pipeline.settings.runs import Run
from pipeline.tracking.delivery import KILLED
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import MlflowRecorder, NoRecorder, Recorder


class Job(NamedTuple):
    """One run, to be trained with every seed."""

    name: str
    run: Run  # in the precision that the device computes in
    seeds: tuple[int, ...]
    params: Params
    data: Prepared
    network: NetworkConfig
    tags: Mapping[str, object]
    out: Path
    resume: Path | None  # a training state to start from
    group: Group

    def record(self) -> AbstractContextManager[Recorder]:
        """Open the MLflow run of all seeds; only the process that leads records."""
        return self._record(self.name, {}, "run", None)

    def record_seed(self, seed: int, parent: Recorder) -> AbstractContextManager[Recorder]:
        """Open the MLflow run of one seed, nested in that of all seeds."""
        return self._record(f"{self.name} seed {seed}", {"seed": seed}, "seed", parent)

    @contextmanager
    def _record(self, name: str, of_seed: Mapping[str, int], kind: str, parent: Recorder | None) -> Iterator[Recorder]:
        if not self.group.leads:
            yield NoRecorder()
            return
        recorded = record_run(
            self.params.tracking.experiment,
            name,
            tags={**self.tags, "kind": kind, **of_seed},
            settings={
                "run": self.name,
                **self.run.model_dump(),
                "seeds": ", ".join(map(str, self.seeds)),
                **of_seed,
            },
            parent=parent,
            data=self.data.source,
            resume=True,
        )

        with recorded as recorder, self.group.closing(lambda: _kill(recorder)):
            yield recorder


def _kill(recorder: Recorder) -> None:
    """Record that this process was killed."""
    if isinstance(recorder, MlflowRecorder):
        recorder.finish(KILLED, last=True)
