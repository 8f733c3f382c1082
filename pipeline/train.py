"""Train one run with every seed: models/<run>/seed-<s>.safetensors, history.csv, environment.json.

    python -m pipeline.train digits-fc
    python -m pipeline.train digits-fc --set alpha=0.001 --set decoder=deconv --set epochs=2 --out /tmp/try

An interrupted training goes on where it was, to the same bytes. With --out nothing that DVC looks after is touched.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from capsnet.files import md5, write_whole
from pipeline.config import Params, Run, find, load_params, override
from pipeline.data import Prepared, read_prepared
from pipeline.device import configure_torch, versions
from pipeline.outputs import MODELS, csv_text, model_name, state_name
from pipeline.scratch import fingerprint, scratch
from pipeline.stage import parser, run_stage
from pipeline.tracking import TrackedRun, event_files, tracked

if TYPE_CHECKING:
    from capsnet.model import ModelConfig
    from capsnet.training import Row


class Job(NamedTuple):
    """What the seeds of one run have in common."""

    name: str
    run: Run
    params: Params
    data: Prepared
    model: "ModelConfig"
    tags: Mapping[str, object]
    out: Path
    resume: Path | None


def train_run(
    name: str,
    run: Run,
    params: Params,
    out: Path,
    *,
    stage: str = "train",
    resume: Path | None = None,
    keep_states: bool = False,
) -> None:
    """Train every seed of a run into the folder `out`, recorded as one MLflow run with a child a seed.

    `resume` starts from a training state instead of from nothing; `keep_states` leaves the final states in `out`.
    Raises like `capsnet.training.train`, and ValueError for data, a device or a tracking store that cannot be used.
    """
    hardware = configure_torch(run.device, run.threads)
    data = read_prepared(run.dataset, "train", hardware.device)
    model = run.model(*data.shape)
    key = fingerprint(run.model_dump(), params.seeds, data.source.digest, resume and md5(resume))
    tags = {"stage": stage, "run": name, "output": out.resolve(), "fingerprint": key, "device": hardware.words}
    job = Job(name, run, params, data, model, tags, out, resume)
    with scratch(stage, name, key) as folder, _tracked(job, None, None) as parent:
        finished = folder / "out"
        rows: list[dict[str, object]] = []
        for seed in params.seeds:
            state = folder / state_name(seed)
            history = _train_seed(job, seed, state, finished / model_name(seed), parent)
            rows += [{"seed": seed, **row} for row in history]
            if keep_states:
                shutil.copyfile(state, finished / state.name)
        write_whole(finished / "history.csv", csv_text(rows))
        write_whole(finished / "environment.json", json.dumps(versions(hardware), indent=2) + "\n")
        parent.attach(finished / "history.csv")
        _move_into(out, finished)


def _move_into(out: Path, finished: Path) -> None:
    """Put the finished files into `out`, in place of an earlier result; whatever else lies there stays."""
    out.mkdir(parents=True, exist_ok=True)
    for earlier in out.glob("seed-*.safetensors"):
        earlier.unlink()
    for path in finished.iterdir():
        shutil.move(path, out / path.name)


def _train_seed(job: Job, seed: int, state: Path, model: Path, parent: TrackedRun) -> "list[Row]":
    """Train one seed, from its state if there is one, and write its model; a finished seed is only written again."""
    from capsnet.checkpoint import read_history, save_model
    from capsnet.training import measured, train

    start = state if state.exists() else job.resume
    events = Path("tensorboard") / job.out.name / f"seed-{seed}" if job.params.tracking.tensorboard else None
    with _tracked(job, seed, parent) as child, event_files(events) as board:

        def log(epoch: int, values: Mapping[str, float]) -> None:
            child.log(epoch, values)
            board(epoch, values)

        for row in read_history(start) if start else []:
            child.log(int(row["epoch"] or 0), measured(row))
        trained = train(
            job.model,
            job.run.training(),
            job.data.images,
            job.data.labels,
            seed,
            checkpoint=state,
            checkpoint_every=job.run.checkpoint_every,
            resume=start,
            log=log,
        )
        save_model(model, trained.model, {"run": job.name, "seed": seed, "settings": job.run.model_dump()})
        child.tag({"model": md5(model)})
        child.attach(model, folder="model")
    return trained.history


def _tracked(job: Job, seed: int | None, parent: TrackedRun | None) -> AbstractContextManager[TrackedRun]:
    of_seed = {} if seed is None else {"seed": seed}
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
    defaults = params.presets.get("reference", {}) if params else {}
    lines = [
        f"  {name:<18} {field.description}" + (f" [{defaults[name]}]" if name in defaults else "")
        for name, field in Run.model_fields.items()
    ]
    return "settings for --set, with their values in the preset `reference` of params.yaml:\n" + "\n".join(lines)


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
    made.add_argument(
        "--seeds", metavar="SEED", type=int, nargs="+", help="these seeds instead of those of params.yaml"
    )
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    arguments = _parser().parse_args(argv)
    params = load_params()
    settings = arguments.set + ([f"device={arguments.device}"] if arguments.device else [])
    run = override(find(arguments.run, params.runs, "run"), settings, f"runs.{arguments.run} with --set")
    if arguments.out is None and (settings or arguments.resume or arguments.seeds):
        raise ValueError(
            "--out: missing; models/ holds what params.yaml says, so other settings need a folder of their own"
        )
    if arguments.seeds:
        params = params.model_copy(update={"seeds": tuple(arguments.seeds)})
    if arguments.resume and len(params.seeds) != 1:
        raise ValueError(f"--resume: a training state is of one seed; name it with --seeds, got {params.seeds}")
    out = arguments.out or MODELS / arguments.run
    train_run(arguments.run, run, params, out, resume=arguments.resume, keep_states=arguments.out is not None)
    print(f"{out}: {len(params.seeds)} seeds of {arguments.run}")


if __name__ == "__main__":
    run_stage(main)
