"""An MLflow run for the length of a block: opened or resumed, described, and closed with the status of the block.

DVC decides what runs and declared files hold the results; MLflow only records. A run that a killed process left open
belongs to an owner, as working files do: see pipeline.runtime.workspace.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pipeline.runtime.masking import masked_urls
from pipeline.runtime.prepared import DataSource
from pipeline.runtime.workspace import owner
from pipeline.tracking.delivery import KILLED, new_run
from pipeline.tracking.process_facts import peak_memory, provenance
from pipeline.tracking.recorder import MlflowRecorder, Recorder
from pipeline.tracking.system_metrics import system_metrics

ORIGIN = "origin"  # the tag of a run that was recorded from files, because nobody recorded its training
PARAM_LIMIT = 6000  # characters that MLflow keeps of a parameter


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

    A store that cannot be reached is one warning: MLflow gets the record later. Raises ValueError if the store can
    never be used for a run without a parent, because of its address or a deleted experiment: nothing is lost by then.
    """
    if parent is not None and not isinstance(parent, MlflowRecorder):
        yield parent
        return
    recorder = _open(experiment, name, tags, settings or {}, parent, data, resume)
    status = "FAILED"
    try:
        with system_metrics(recorder) if parent is None and ORIGIN not in tags else nullcontext():
            yield recorder
        status = "FINISHED"
        if parent is None and ORIGIN not in tags:
            recorder.log(0, peak_memory())
    except KeyboardInterrupt:
        status = KILLED
        raise
    finally:
        recorder.finish(status, last=parent is None)


def _open(
    experiment: str,
    name: str,
    tags: Mapping[str, object],
    settings: Mapping[str, object],
    parent: MlflowRecorder | None,
    data: DataSource | None,
    resume: bool,
) -> MlflowRecorder:
    """Resume the run that was left open, or create a new one, now or as soon as the store can be reached."""
    if "output" in tags:
        tags = {**tags, "owner": owner(Path(str(tags["output"])))}
    run = new_run(
        experiment,
        name,
        {key: masked_urls(tag) for key, tag in {**tags, **provenance()}.items()},
        {key: str(tag) for key, tag in tags.items() if key != "output"},
        {key: masked_urls(value)[:PARAM_LIMIT] for key, value in settings.items()},
        _as_dataset(data) if data else None,
        parent=parent.key if parent else None,
        resume=resume,
    )
    return MlflowRecorder.of_new_run(uuid.uuid4().hex, run, parent)


def _as_dataset(data: DataSource) -> dict[str, str | None]:
    """Return the arguments of MLflow's Dataset."""
    return {
        "name": data.name,
        "digest": data.digest,
        "source_type": "local",
        "source": masked_urls(data.path),
        "profile": data.note or None,
    }
