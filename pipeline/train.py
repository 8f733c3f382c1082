"""Train one run with every seed: models/<run>/seed-<s>.safetensors, history.csv, environment.json.

    python -m pipeline.train digits-fc
    python -m pipeline.train digits-tuned            (the run of the search `digits`, with the best values it found)
    python -m pipeline.train digits-fc --set alpha=0.001 --set decoder=deconv --set epochs=2 --out /tmp/try
    torchrun --nproc-per-node 2 -m pipeline.train mnist-fc       (each process trains on its share of every batch)

An interrupted training goes on where it was, to the same bytes, or with another number of processes to the same
rounding. With --out nothing that DVC looks after is touched.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from capsnet.files import md5, write_whole
from pipeline.runtime.advice import before_training
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import about_precision, computed, configure_torch, versions
from pipeline.runtime.paths import MODELS, REPORTS, TUNED, TUNING, csv_text, model_name, state_name
from pipeline.runtime.prepared import Prepared, read_prepared
from pipeline.runtime.scratch import fingerprint, scratch
from pipeline.runtime.torchrun import Group, leads, process_group
from pipeline.settings.params import Params, check_run, find, load_params, override
from pipeline.settings.reading import read_yaml
from pipeline.settings.runs import RUNS, Run
from pipeline.tracking.recorder import TrackedRun, event_files, tracked, untracked

if TYPE_CHECKING:
    from capsnet.networks.capsnet import NetworkConfig
    from capsnet.training.loop import Course

STAGE = "train"


class Job(NamedTuple):
    """What the seeds of one run have in common."""

    name: str
    run: Run
    seeds: tuple[int, ...]
    params: Params
    data: Prepared
    model: "NetworkConfig"
    tags: Mapping[str, object]
    out: Path
    resume: Path | None
    group: Group


def run_named(name: str, params: Params) -> Run:
    """Return a run of params.yaml, or for <search>-tuned the run of that search with the values in its best.yaml."""
    search = name.removesuffix(TUNED)
    if name in params.runs or search not in params.tune:
        return find(name, params.runs, "run")
    entry = params.tune[search]
    path = REPORTS / entry.study / TUNING / search / "best.yaml"
    best = read_yaml(path)
    return check_run({**params.runs[entry.run].model_dump(), **{key: best[key] for key in ("alpha", "lr")}}, str(path))


def train_run(
    name: str,
    run: Run,
    params: Params,
    out: Path,
    *,
    resume: Path | None = None,
    keep_states: bool = False,
) -> None:
    """Train every seed of a run into the folder `out`, recorded as one MLflow run with a child a seed.

    `resume` starts from a training state instead of from nothing; `keep_states` leaves the final states in `out`. What
    is written and recorded names the precision that was computed in, which may be another than the one asked for.
    Raises like `capsnet.training.loop.train`, and ValueError for data, a device or a tracking store that cannot be
    used.
    """
    with process_group(run.device) as group:
        hardware = configure_torch(run.device, run.threads)
        asked, run = run, computed(name, run, hardware, say=group.leads)
        data = read_prepared(run.dataset, "train", hardware.device)
        model = run.model(*data.shape)
        seeds = params.seeds_of(run)
        # A GPU draws other random numbers than a CPU: neither goes on from what the other left behind.
        kind = hardware.device.type
        key = fingerprint(run.model_dump(), seeds, kind, data.source.digest, resume and md5(resume))
        tags = {"stage": STAGE, "run": name, "output": out.resolve(), "fingerprint": key, "device": hardware.words}
        job = Job(name, run, seeds, params, data, model, tags, out, resume, group)
        with scratch(STAGE, name, out, key, follow=not group.leads) as folder, _tracked(job, None, None) as parent:
            if group.leads and (advice := before_training(run, len(data.labels))):
                print(f"warning: {name}: {advice}", file=sys.stderr)
            finished = folder / "out"
            rows = _train_seeds(job, folder, finished, parent)
            if group.leads:
                if keep_states:
                    for seed in seeds:
                        shutil.copyfile(folder / state_name(seed), finished / state_name(seed))
                write_whole(finished / "history.csv", csv_text(rows))
                environment = versions(hardware) | about_precision(asked, run)
                write_whole(finished / "environment.json", json.dumps(environment, indent=2) + "\n")
                parent.attach(finished / "history.csv")
                _move_into(out, finished)
            group.wait()


def _move_into(out: Path, finished: Path) -> None:
    """Put the finished files into `out`, in place of an earlier result; whatever else lies there stays."""
    out.mkdir(parents=True, exist_ok=True)
    for earlier in out.glob("seed-*.safetensors"):
        earlier.unlink()
    for path in finished.iterdir():
        shutil.move(path, out / path.name)


def _train_seeds(job: Job, folder: Path, finished: Path, parent: TrackedRun) -> list[dict[str, object]]:
    """Train all seeds side by side, each from its state if there is one; return the rows of history.csv."""
    from capsnet.networks.saved import save_model
    from capsnet.training.loop import train_side_by_side

    rows: list[dict[str, object]] = []
    with ExitStack() as open_runs:
        children = [open_runs.enter_context(_tracked(job, seed, parent)) for seed in job.seeds]
        courses = [
            _course(job, seed, folder / state_name(seed), child, open_runs)
            for seed, child in zip(job.seeds, children, strict=True)
        ]
        trained = train_side_by_side(
            job.model,
            job.run.training(),
            job.data.images,
            job.data.labels,
            courses,
            groups=job.data.groups,
            checkpoint_every=job.run.checkpoint_every,
        )
        for course, child, (model, history) in zip(courses, children, trained, strict=True):
            rows += [{"seed": course.seed, **row} for row in history]
            if job.group.leads:
                path = finished / model_name(course.seed)
                save_model(path, model, {"run": job.name, "seed": course.seed, "settings": job.run.model_dump()})
                child.tag({"model": md5(path)})
                child.serve(path)
    return rows


def _course(job: Job, seed: int, state: Path, child: TrackedRun, open_runs: ExitStack) -> "Course":
    from capsnet.training.checkpoint import read_history
    from capsnet.training.loop import Course, measured

    start = state if state.exists() else job.resume
    events = Path("tensorboard") / job.out.name / f"seed-{seed}" if job.params.tracking.tensorboard else None
    board = open_runs.enter_context(event_files(events if job.group.leads else None))

    def log(epoch: int, values: Mapping[str, float]) -> None:
        child.log(epoch, values)
        board(epoch, values)

    for row in read_history(start) if start else []:
        child.log(int(row["epoch"] or 0), measured(row))
    return Course(seed, checkpoint=state, resume=start, log=log)


def _tracked(job: Job, seed: int | None, parent: TrackedRun | None) -> AbstractContextManager[TrackedRun]:
    of_seed = {} if seed is None else {"seed": seed}
    if not job.group.leads:
        return untracked()
    return tracked(
        job.params.tracking.experiment,
        job.name if seed is None else f"{job.name} seed {seed}",
        tags={**job.tags, "kind": "run" if seed is None else "seed", **of_seed},
        settings={"run": job.name, **job.run.model_dump(), **of_seed},
        parent=parent,
        data=job.data.source,
        resume=True,
    )


def _settings_help(params: Params | None) -> str:
    lines = ["settings for --set, with their values in a preset of params.yaml:"]
    for network, model in RUNS.items():
        presets = params.presets if params else {}
        name = next((name for name, preset in presets.items() if preset.get("network") == network), "")
        lines += ["", f"network: {network}" + (f", preset `{name}`" if name else "")]
        for setting, field in model.model_fields.items():
            value = f" [{presets[name][setting]}]" if name and setting in presets[name] else ""
            lines.append(f"  {setting:<18} {field.description}{value}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    try:
        epilog = _settings_help(load_params())
    except (ValueError, OSError):
        epilog = _settings_help(None)
    made = parser(__doc__, ("RUN", "a key of `runs` in params.yaml"))
    made.epilog = epilog
    made.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="another value for a setting")
    made.add_argument("--out", metavar="DIR", type=Path, help="write here instead of models/RUN")
    made.add_argument("--resume", metavar="PATH", type=Path, help="go on from a training state; epochs may have grown")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), help="short for --set device=...")
    made.add_argument("--seeds", metavar="SEED", type=int, nargs="+", help="short for --set seeds=[SEED, ...]")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    arguments = _parser().parse_args(argv)
    params = load_params()
    settings = arguments.set + ([f"device={arguments.device}"] if arguments.device else [])
    settings += [f"seeds={arguments.seeds}"] if arguments.seeds else []
    run = override(run_named(arguments.run, params), settings, f"runs.{arguments.run} with --set")
    if arguments.out is None and (settings or arguments.resume):
        raise ValueError(
            "--out: missing; models/ holds what params.yaml says, so other settings need a folder of their own"
        )
    seeds = params.seeds_of(run)
    if arguments.resume and len(seeds) != 1:
        raise ValueError(f"--resume: a training state is of one seed; name it with --seeds, got {seeds}")
    out = arguments.out or MODELS / arguments.run
    train_run(arguments.run, run, params, out, resume=arguments.resume, keep_states=arguments.out is not None)
    if leads():
        print(f"{out}: {arguments.run}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")


if __name__ == "__main__":
    run_stage(main)
