"""The seeds of one run, trained side by side, each with its MLflow run and its training state."""

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from capsnet.files import md5
from capsnet.networks.saved import save_model
from capsnet.training.checkpoint import newest_whole_state, read_history
from capsnet.training.loop import Course, Log, measured, train_side_by_side
from pipeline.runtime.paths import model_name, state_name
from pipeline.tracking.recorded_scores import record_means
from pipeline.tracking.recorder import Recorder
from pipeline.tracking.tensorboard import event_writer, events_folder
from pipeline.training.job import Job


def train_seeds(
    job: Job, states: Path, finished: Path, parent: Recorder, stop: Callable[[], bool]
) -> list[dict[str, object]]:
    """Train all seeds, and write their models.

    Args:
        job: What to train.
        states: The folder of training states; a seed that has one continues from it.
        finished: The folder for the models.
        parent: The recorder of the whole run.
        stop: Tells after each epoch whether the training should end, with its states written.

    Returns the rows of history.csv, seed by seed.
    """
    rows: list[dict[str, object]] = []
    with ExitStack() as open_runs:
        recorders = [open_runs.enter_context(job.record_seed(seed, parent)) for seed in job.seeds]
        courses = [
            _course(job, seed, states / state_name(seed), recorder, parent)
            for seed, recorder in zip(job.seeds, recorders, strict=True)
        ]
        trained = train_side_by_side(
            job.network,
            job.run.training(),
            job.data.images,
            job.data.labels,
            courses,
            groups=job.data.groups,
            checkpoint_every=job.run.checkpoint_every,
            stop=stop,
        )
        for course, recorder, (network, history) in zip(courses, recorders, trained, strict=True):
            rows += [{"seed": course.seed, **row} for row in history]
            if job.group.leads:
                path = finished / model_name(course.seed)
                save_model(path, network, {"run": job.name, "seed": course.seed, "settings": job.run.model_dump()})
                recorder.tag({"model": md5(path)})
                recorder.log_model(path)
    record_means(parent, rows)
    return rows


def _course(job: Job, seed: int, state: Path, recorder: Recorder, parent: Recorder) -> Course:
    """Prepare the training of one seed, and record the epochs that its training state contains."""
    start = newest_whole_state(state, _warn if job.group.leads else None) or job.resume
    logs: list[Log] = [recorder.log]
    if job.params.tracking.tensorboard and job.group.leads:
        folder = events_folder(job.out.name, str(job.tags["fingerprint"]))
        parent.tag({"tensorboard": folder})
        recorder.tag({"tensorboard": folder / f"seed-{seed}"})
        logs.append(event_writer(folder / f"seed-{seed}"))

    def log(epoch: int, values: Mapping[str, float]) -> None:
        for each in logs:
            each(epoch, values)

    for row in read_history(start) if start else []:
        log(int(row["epoch"] or 0), measured(row))
    return Course(seed, checkpoint=state, resume=start, log=log)


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
