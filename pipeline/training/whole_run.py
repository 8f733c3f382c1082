"""Training one run with every seed: models, history.csv and environment.json in one folder, all or none."""

import json
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from capsnet.files import md5, write_whole
from pipeline.runtime.advice import disk_space, too_few_steps
from pipeline.runtime.device import about_precision, configure_torch, precision_here, versions
from pipeline.runtime.paths import csv_text, state_name
from pipeline.runtime.prepared import read_prepared
from pipeline.runtime.scratch import fingerprint, scratch
from pipeline.runtime.stopping import Stop, stoppable
from pipeline.runtime.torchrun import Group, process_group
from pipeline.settings.params import Params
from pipeline.settings.runs import Run
from pipeline.training.job import Job
from pipeline.training.side_by_side import train_seeds

STAGE = "train"


def train_run(
    name: str,
    run: Run,
    params: Params,
    out: Path,
    *,
    resume: Path | None = None,
    keep_states: bool = False,
) -> None:
    """Train every seed of a run, recorded as one MLflow run with a nested run for each seed.

    Args:
        name: The name of the run.
        run: Its settings. If the device does not compute in their precision, files and MLflow name the actual one.
        params: All parameters.
        out: The folder for the results.
        resume: A training state to start from.
        keep_states: Leave the final training states in `out` too.

    Raises what `capsnet.training.loop.train` raises, and ValueError for data, a device or a tracking store that cannot
    be used.
    """
    with process_group(run.device) as group:
        hardware = configure_torch(run.device, run.threads)
        asked, precision = run.precision, precision_here(name, run.precision, hardware, say=group.leads)
        run = run.model_copy(update={"precision": precision})
        data = read_prepared(run.dataset, "train", hardware.device)
        seeds = params.seeds_of(run)
        # A GPU draws other random numbers than a CPU, so neither continues what the other began.
        kind = hardware.device.type
        key = fingerprint(run.model_dump(), seeds, kind, data.source.digest, resume and md5(resume))
        tags = {"stage": STAGE, "run": name, "output": out.resolve(), "fingerprint": key, "device": hardware.words}
        job = Job(name, run, seeds, params, data, run.model(*data.shape), tags, out, resume, group)
        with (
            scratch(STAGE, name, out, key, shared=not group.leads) as folder,
            _stop(group) as stop,
            job.record() as recorder,
        ):
            if group.leads:
                _give_advice(job, folder)
            finished = folder / "out"
            rows = train_seeds(job, folder, finished, recorder, stop)
            if group.leads:
                if keep_states:
                    for seed in seeds:
                        shutil.copyfile(folder / state_name(seed), finished / state_name(seed))
                write_whole(finished / "history.csv", csv_text(rows))
                environment = versions(hardware) | about_precision(asked, precision)
                write_whole(finished / "environment.json", json.dumps(environment, indent=2) + "\n")
                recorder.attach(finished / "history.csv")
                stop.refuse_orphan()
                _replace_results(out, finished)
            group.wait()


def _stop(group: Group) -> AbstractContextManager[Stop]:
    """Listen to SIGTERM. In a group of processes torchrun does so, and all of them end at once."""
    return stoppable() if group.number == 1 else nullcontext(Stop())


def _give_advice(job: Job, folder: Path) -> None:
    """Say what the user should know before a training: that it is too short, and how much room it needs."""
    if advice := too_few_steps(job.run.training(), len(job.data.labels)):
        print(f"warning: {job.name}: {advice}", file=sys.stderr)
    if advice := disk_space(job.network, len(job.seeds), job.run.epochs * len(job.data.labels), folder):
        print(f"{job.name}: {advice}", file=sys.stderr)


def _replace_results(out: Path, finished: Path) -> None:
    """Move the finished files into `out` in place of an earlier result; other files in it stay."""
    out.mkdir(parents=True, exist_ok=True)
    for earlier in out.glob("seed-*.safetensors"):
        earlier.unlink()
    for path in finished.iterdir():
        shutil.move(path, out / path.name)
