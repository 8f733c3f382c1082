"""One record written to MLflow: a run opened or resumed, its numbers, tags, files and status.

A record may be written twice without harm. A run that may be in the store is looked for by its id or by a tag. If it is
found, the numbers of epochs that it has are not written again. Other numbers may be there twice, with the same value.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from pipeline.runtime.masking import masked
from pipeline.tracking.experiments import experiment_id, run_of_mlflow_run
from pipeline.tracking.mlflow_model import log_model
from pipeline.tracking.run_search import PARENT, find_everywhere, find_runs
from pipeline.tracking.store import does_not_exist, store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OPEN, LOG, TAG, ATTACH, NETWORK, END = "open", "log", "tag", "attach", "network", "end"
FILES = (ATTACH, NETWORK)
KILLED = "KILLED"
RECORD = "record"  # the tag that identifies a run whose creation may or may not have reached the store
RESUMED_METRIC = "train_loss"  # tells which epochs a resumed run has: each epoch records it


@dataclass
class KnownRun:
    """A run in the store."""

    id: str
    experiment_id: str
    # The epochs that it had when it was found again: MLflow would show them twice.
    steps: set[int] = field(default_factory=set)
    given: bool = False  # opened by somebody else: it is not created again if it is lost


class RunPlace(NamedTuple):
    """The experiment and the run in which a new run lies."""

    experiment: str  # the id of the experiment
    parent: KnownRun | None  # the run of this project in which it is nested
    outer: str | None  # the id of the run that `mlflow run` opened around this stage; None if there is a parent


class NewRun(TypedDict):
    """What `Delivery.open` needs for a run of this stage: see `new_run`. It is kept as JSON while it waits."""

    given: Literal[False]
    id: str | None  # None until the store has it
    experiment: str
    name: str
    tags: dict[str, str]
    identity: dict[str, str]
    settings: dict[str, str]
    data: dict[str, Any] | None
    parent: str | None
    resume: bool
    outer: str | None  # the run that `mlflow run` opened around this stage
    start: int  # milliseconds since 1970


class GivenRun(TypedDict):
    """What `Delivery.open` needs for a run that is in the store."""

    given: Literal[True]
    id: str
    experiment: str  # its id
    name: str


class Delivery:
    """Writes records to an open store, and knows the runs that they belong to.

    `within` is a context manager around each call of the store that should be answered at once.
    """

    def __init__(
        self, client: "MlflowClient", within: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self.client = client
        self.runs: dict[str, KnownRun] = {}
        self._within = within

    def open(self, key: str, values: NewRun | GivenRun, *, sent: bool, tried: bool) -> bool:
        """Find, resume or create a run, and note its id in `values`; return whether it was created.

        Args:
            key: Identifies the run.
            values: What `new_run` or `given_run` returned.
            sent: The run was in the store before.
            tried: An attempt to create it failed: the store may have it all the same.
        """
        if values["given"]:
            self.runs[key] = KnownRun(values["id"], values["experiment"], given=True)
            return False
        with self._within():
            place = self._place(values, say=not tried)
            found = self._found(key, place.experiment, values, tried)
            if found is None and not sent:
                found = self._left_open(place, values)
            run = self._create(key, place, values) if found is None else self._adopt(found, place)
        self.runs[key] = run
        values["id"] = run.id
        return found is None

    def send(self, kind: str, key: str, values: Mapping[str, Any]) -> None:
        """Write anything but the opening of a run. Raises whatever MLflow, its store and the disk raise."""
        run = self.runs[key]
        if kind in FILES:  # these may take their time
            for path in values["paths"]:
                if kind == NETWORK:
                    log_model(self.client, run.id, Path(path))
                else:
                    self.client.log_artifact(run.id, path, values["folder"])
            return
        with self._within():
            if kind == LOG:
                self._log(run, values)
            elif kind == TAG:
                from mlflow.entities import RunTag

                self.client.log_batch(run.id, tags=[RunTag(name, value) for name, value in values["tags"].items()])
            else:
                self.client.set_terminated(run.id, values["status"], values["time"])

    def _place(self, values: NewRun, *, say: bool) -> RunPlace:
        """Return where a run belongs. With `say`, name a run of `mlflow run` that the store does not have."""
        if values["parent"]:
            parent = self.runs[values["parent"]]
            return RunPlace(parent.experiment_id, parent, None)
        with _environment("MLFLOW_RUN_ID", values["outer"]):
            outer = run_of_mlflow_run(self.client)
        if outer is None and values["outer"] and say:
            missing = f"no run {values['outer']} in {masked(store_uri())}"
            print(f"MLflow: MLFLOW_RUN_ID: {missing}; going on without it", file=sys.stderr)
        identity = experiment_id(self.client, values["experiment"], outer)
        return RunPlace(identity, None, outer.info.run_id if outer else None)

    def _adopt(self, found: str, place: RunPlace) -> KnownRun:
        """Return a run that the store has, with the epochs that it has."""
        if place.outer:  # this `mlflow run` finishes what another one began
            self.client.set_tag(found, PARENT, place.outer)
        steps = {each.step for each in self.client.get_metric_history(found, RESUMED_METRIC)}
        return KnownRun(found, place.experiment, steps)

    def _create(self, key: str, place: RunPlace, values: NewRun) -> KnownRun:
        """Create a run and describe it."""
        above = place.parent.id if place.parent else place.outer
        tags = {**values["tags"], RECORD: key, **({PARENT: above} if above else {})}
        created = self.client.create_run(place.experiment, values["start"], tags, values["name"]).info.run_id
        _describe(self.client, created, values["settings"], values["data"])
        return KnownRun(created, place.experiment)

    def _log(self, run: KnownRun, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        if values["step"] not in run.steps:
            at = (values["time"], values["step"])
            metrics = [Metric(name, value, *at) for name, value in values["metrics"].items()]
            self.client.log_batch(run.id, metrics=metrics)

    def _found(self, key: str, experiment: str, values: NewRun, tried: bool) -> str | None:
        """Return the run that was created for this very record."""
        if values["id"]:
            try:
                return str(self.client.get_run(values["id"]).info.run_id)
            except Exception as error:
                if not does_not_exist(error):
                    raise
        same = find_runs(self.client, experiment, {RECORD: key}) if tried else []
        if same:  # it may have been created, but not described yet
            _describe(self.client, same[0].info.run_id, values["settings"], values["data"])
        return same[0].info.run_id if same else None

    def _left_open(self, place: RunPlace, values: NewRun) -> str | None:
        """Return the run to resume, if there is one, and set other runs left open for the same output to KILLED."""
        tags, parent = values["identity"], place.parent
        if parent is None and "owner" in tags:
            keep = tags["fingerprint"] if values["resume"] else None
            for run in find_everywhere(self.client, {name: tags[name] for name in ("stage", "owner")}):
                # One in another experiment is not resumed: the new run records its epochs again.
                here = run.info.experiment_id == place.experiment
                if _is_open(run, values) and not (here and run.data.tags.get("fingerprint") == keep):
                    self.client.set_terminated(run.info.run_id, KILLED)
        if not values["resume"]:
            return None
        same = find_runs(self.client, place.experiment, {**tags, **({PARENT: parent.id} if parent else {})})
        # A resumed parent resumes all of its children, the finished ones too. Between a kill and this start, another
        # stage may have set the run to KILLED.
        left = [run for run in same if parent or _is_open(run, values) or run.info.status == KILLED]
        if not left:
            return None
        self.client.update_run(left[0].info.run_id, status="RUNNING")
        return str(left[0].info.run_id)


def new_run(
    experiment: str,
    name: str,
    tags: Mapping[str, str],
    identity: Mapping[str, str],
    settings: Mapping[str, str],
    data: Mapping[str, Any] | None,
    *,
    parent: str | None,
    resume: bool,
) -> NewRun:
    """Return what `Delivery.open` needs for a run of this stage.

    Args:
        experiment: The name of its experiment.
        name: Its name.
        tags: Its tags.
        identity: Those tags by which a later process finds it if it is left open.
        settings: Its parameters.
        data: Its data set, as arguments of MLflow's Dataset.
        parent: The key of the run in which it is nested.
        resume: Continue a run that was left open with the same identity.
    """
    return {
        "given": False,
        "id": None,
        "experiment": experiment,
        "name": name,
        "tags": dict(tags),
        "identity": dict(identity),
        "settings": dict(settings),
        "data": None if data is None else dict(data),
        "parent": parent,
        "resume": resume,
        "outer": os.environ.get("MLFLOW_RUN_ID"),
        "start": milliseconds(),
    }


def given_run(run_id: str, experiment: str) -> GivenRun:
    """Return what `Delivery.open` needs for a run that is in the store."""
    return {"given": True, "id": run_id, "experiment": experiment, "name": run_id}


def milliseconds() -> int:
    """Return the time as MLflow notes it."""
    return int(time.time() * 1000)


def _is_open(run: "Run", values: NewRun) -> bool:
    """Tell whether a run was left open before this one began."""
    return bool(run.info.status == "RUNNING" and run.info.start_time <= values["start"])


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """Set a variable for the block to what it was when the run began, perhaps in another process."""
    before = os.environ.get(name)
    _set(name, value)
    try:
        yield
    finally:
        _set(name, before)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _describe(client: "MlflowClient", run_id: str, settings: Mapping[str, str], data: Mapping[str, Any] | None) -> None:
    """Record the settings and the data of a new run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    client.log_batch(run_id, params=[Param(name, value) for name, value in settings.items()])
    if data is not None:
        client.log_inputs(run_id, [DatasetInput(Dataset(**data), [InputTag("mlflow.data.context", "training")])])
