"""An MLflow run for the length of a block: opened or resumed, described, and closed with the status of the block.

DVC decides what runs and declared files hold the results; MLflow only records. A run that a killed process left open
belongs to an owner, as working files do: see pipeline.runtime.workspace.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.runtime.masking import masked
from pipeline.runtime.prepared import DataSource
from pipeline.runtime.workspace import owner
from pipeline.tracking.experiments import experiment_id, run_of_mlflow_run
from pipeline.tracking.lookup import PARENT, find_runs
from pipeline.tracking.process_facts import peak_memory, provenance
from pipeline.tracking.recorder import MlflowRecorder, NoRecorder, Recorder, warn
from pipeline.tracking.store import open_client, store_uri, unusable

if TYPE_CHECKING:
    from mlflow import MlflowClient

KILLED = "KILLED"
PARAM_LIMIT = 6000  # characters that MLflow keeps of a parameter
RESUMED_METRIC = "train_loss"  # every epoch of a training has it


@contextmanager
def record_run(
    experiment: str,
    name: str,
    *,
    tags: Mapping[str, object],
    settings: Mapping[str, object] | None = None,
    parent: Recorder | None = None,
    data: DataSource | None = None,
    resume: bool = False,
) -> Iterator[Recorder]:
    """Open an MLflow run for the block, and close it with the status of the block.

    Args:
        experiment: The MLflow experiment; a run that `mlflow run` opened decides otherwise.
        name: The name of the run.
        tags: Its tags. Those of a run that can be resumed name its stage, output and fingerprint.
        settings: Its parameters.
        parent: The run in which this one is nested. If the parent records nothing, this run does not either.
        data: The data that the run reads.
        resume: Continue the run (and each of its children) that a killed process left open with the very same tags.
            Other runs that were left open for the same output of the same owner are set to KILLED in any case.

    Raises ValueError if the store cannot be used for a run without a parent: nothing is lost by then. A later failure,
    or that of a nested run, is only a warning.
    """
    if parent is not None and not isinstance(parent, MlflowRecorder):
        yield parent
        return
    try:
        recorder = _open(experiment, name, tags, settings or {}, parent, data, resume)
    except Exception as error:  # the store, the network and the disk may raise anything
        if parent is None:
            raise ValueError(unusable(error)) from error
        warn(error)
        yield NoRecorder()
        return
    try:
        yield recorder
    except KeyboardInterrupt:
        recorder.finish(KILLED)
        raise
    except BaseException:
        recorder.finish("FAILED")
        raise
    if parent is None:
        recorder.log(0, peak_memory())
    recorder.finish("FINISHED")


def _open(
    experiment: str,
    name: str,
    tags: Mapping[str, object],
    settings: Mapping[str, object],
    parent: MlflowRecorder | None,
    data: DataSource | None,
    resume: bool,
) -> MlflowRecorder:
    """Resume the run that was left open, or create a new one."""
    client = open_client()
    outer = None if parent else run_of_mlflow_run(client)
    if parent is None and outer is None and (stale := os.environ.get("MLFLOW_RUN_ID")):
        print(f"MLflow: MLFLOW_RUN_ID: no run {stale} in {masked(store_uri())}; going on without it", file=sys.stderr)
    identity = parent.experiment_id if parent else experiment_id(client, experiment, outer)
    if "output" in tags:
        tags = {**tags, "owner": owner(Path(str(tags["output"])))}
    if parent is None and "owner" in tags:
        _kill_abandoned(client, identity, tags, keep=str(tags["fingerprint"]) if resume else None)
    of_parent = {PARENT: parent.id} if parent else {}
    if resume and (left_open := _left_open(client, identity, {**tags, **of_parent})):
        recorder = MlflowRecorder(client, left_open, identity)
        recorder.resume(RESUMED_METRIC)
        return recorder
    above = parent.id if parent else outer and outer.info.run_id
    all_tags = {**tags, **provenance(), **({PARENT: above} if above else {})}
    created = client.create_run(identity, run_name=name, tags={key: masked(str(tag)) for key, tag in all_tags.items()})
    _describe(client, created.info.run_id, settings, data)
    return MlflowRecorder(client, created.info.run_id, identity)


def _kill_abandoned(client: "MlflowClient", experiment: str, tags: Mapping[str, object], keep: str | None) -> None:
    """Set to KILLED the runs that this owner left open for the same output, unless their fingerprint is `keep`."""
    for run in find_runs(client, experiment, {key: tags[key] for key in ("stage", "owner")}):
        if run.info.status == "RUNNING" and run.data.tags.get("fingerprint") != keep:
            client.set_terminated(run.info.run_id, KILLED)


def _left_open(client: "MlflowClient", experiment: str, tags: Mapping[str, object]) -> str | None:
    """Return the run to resume, if there is one."""
    same = find_runs(client, experiment, {key: value for key, value in tags.items() if key != "output"})
    # A resumed parent resumes all of its children, the finished ones too.
    same = [run for run in same if run.info.status == "RUNNING" or PARENT in tags]
    return same[0].info.run_id if same else None


def _describe(client: "MlflowClient", run_id: str, settings: Mapping[str, object], data: DataSource | None) -> None:
    """Record the settings and the data of a new run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    client.log_batch(run_id, params=[Param(key, masked(str(value))[:PARAM_LIMIT]) for key, value in settings.items()])
    if data is not None:
        entity = Dataset(
            name=data.name,
            digest=data.digest,
            source_type="local",
            source=masked(data.path),
            profile=data.note or None,
        )
        client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])])
