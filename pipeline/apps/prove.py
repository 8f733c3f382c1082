"""Prove that the code of now trains what the code of then trained, and name it in dvc.lock without a training.

    python -m pipeline.apps.prove mnist-fc mnist-deconv
    python -m pipeline.apps.prove mnist-fc --since 5c72e3a --steps 100 --images 1000     (the commit named by hand)

dvc.lock names the code behind each model, so a function that moves to another file makes weeks of training stale. This
command takes the newest commit with the very code that dvc.lock names for train@RUN. It trains the first steps, with a
part of the run's own data, its own settings, a checkpoint written and resumed in the middle, and scores test images,
with the code of then and with that of the working tree, on this machine. What must be equal, to the byte: every weight
and every moment of the optimiser at the checkpoint and at the end, every history row, every score; of the models in
models/RUN too, where they are at hand. Models of then are scored with the code of now, so they go on loading.

Only if all of it is equal for all runs, the code of now is written into dvc.lock, for train@RUN and evaluate@RUN; what
they made stays named as it is. One different bit: it says where, changes nothing, and ends with status 1. A setting
with another value, other data, outs or commands are refused; where it is evaluation that makes more than it did,
--train-only keeps the models at least. New settings are listed. The first steps say nothing about what begins later.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.apps.proving.commits import commit_of, commits_of
from pipeline.apps.proving.locked import LOCK, locked, read_lock, write_lock
from pipeline.apps.proving.proof import Different, prove
from pipeline.apps.proving.trial import StageFailed, snapshot
from pipeline.runtime.command_line import parser, run_stage
from pipeline.settings.params import find, load_params

STAGES = ("train", "evaluate")
FEWEST_STEPS = 30


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("runs", metavar="RUN", nargs="+", help="keys of `runs` in params.yaml")
    made.add_argument("--since", metavar="COMMIT", help="where the runs were trained [the newest with the locked code]")
    made.add_argument("--steps", type=int, default=FEWEST_STEPS, help=f"to train at least [{FEWEST_STEPS}]")
    made.add_argument("--images", type=int, default=300, help="test images to score at most [300]")
    made.add_argument(
        "--train-only", action="store_true", help="leave evaluate@RUN to be made again: compare no scores"
    )
    arguments = made.parse_args(argv)
    for name, fewest in (("steps", FEWEST_STEPS), ("images", 1)):
        if (got := getattr(arguments, name)) < fewest:
            raise ValueError(f"--{name}: got {got}, expected at least {fewest}")
    try:
        kept = STAGES[:1] if arguments.train_only else STAGES
        sys.exit(_prove_all([*dict.fromkeys(arguments.runs)], kept, arguments.since, arguments.steps, arguments.images))
    except KeyboardInterrupt:
        sys.exit(f"interrupted; {LOCK} is as it was")
    except StageFailed as error:
        raise ValueError(str(error)) from error


def _prove_all(runs: Sequence[str], kept: Sequence[str], named: str | None, steps: int, images: int) -> int:
    params, lock = load_params(), read_lock()
    names: dict[str, list[str]] = {}
    for run in runs:
        find(run, params.runs, "run")
        names[run] = [f"{stage}@{run}" for stage in kept if f"{stage}@{run}" in lock]
        if f"train@{run}" not in lock:
            raise ValueError(f"{LOCK}: no train@{run}: it was never trained, `dvc repro train@{run}` does it")
    since = commit_of(named) if named is not None else None
    with TemporaryDirectory(prefix="capsnet-prove-") as folder:
        now = snapshot(Path(folder))
        stages = {run: locked(of_run, lock, now.project) for run, of_run in names.items()}
        stale = {run: of_run for run, of_run in stages.items() if any(each.stale for each in of_run)}
        commits = {run: commits_of(of_run, since) for run, of_run in stale.items()}
        failed = 0
        for run, of_run in stages.items():
            if run not in stale:
                print(f"{run}: {LOCK} names the code of now already")
                continue
            then = " and ".join(dict.fromkeys(commit[:7] for commit in commits[run]))
            try:
                said = prove(run, of_run, commits[run], now, steps, images)
            except Different as difference:
                failed += 1
                print(f"{run}: not as at {then}: {difference}")
                continue
            print(f"{run}: equal to the byte since {then}: {said}")
            for setting in dict.fromkeys(setting for each in of_run for setting in each.new_settings):
                print(f"  new setting {setting}")
    if failed:
        print(f"{LOCK} is as it was")
        return 1
    if stale:
        proved = [each for of_run in stale.values() for each in of_run if each.stale]
        write_lock(proved)
        print(f"{LOCK} names the code of now for {', '.join(each.stage for each in proved)}")
    return 0


if __name__ == "__main__":
    run_stage(main)
