"""Prove that the present code trains the same bytes as the old code, and write it into dvc.lock without a training.

    python -m pipeline.apps.prove mnist-fc mnist-deconv
    python -m pipeline.apps.prove mnist-fc --since 5c72e3a --steps 100 --images 1000     (the commit named by hand)

dvc.lock names the code that each model was trained with. So DVC would repeat weeks of training when a function moves to
another file. This command finds the newest commit with exactly the code that dvc.lock names for train@RUN. With that
code and with the present code of the working tree it trains the first steps of the run on this machine: with the run's
settings, on part of its data, with a checkpoint that is written and resumed in the middle. Then it scores test images
with both.

These must be equal to the byte: every weight and every moment of the optimiser, at the checkpoint and at the end; every
history row; and every score, also of the models in models/RUN if they are here. The present code scores the models of
the old code, so it still has to load them.

If everything is equal for all runs, the present code is written into dvc.lock for train@RUN and evaluate@RUN; their
outputs stay as they are. If a single bit differs, the command says where, changes nothing, and ends with status 1. It
refuses changes of old settings, data, outputs and commands. If only the evaluation has changed, --train-only keeps at
least the models. New settings are listed. The proof says nothing about code that has an
effect only after the first steps.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.apps.proving.commits import commit_of, commits_of
from pipeline.apps.proving.lock_file import LOCK, LockedStage, LockEntry, locked_stages, read_lock, write_lock
from pipeline.apps.proving.proof import Different, prove
from pipeline.apps.proving.short_run import StageFailed, snapshot
from pipeline.runtime.command_line import parser, run_stage
from pipeline.settings.params import find, load_params

STAGES = ("train", "evaluate")
FEWEST_STEPS = 30


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("runs", metavar="RUN", nargs="+", help="keys of `runs` in params.yaml")
    made.add_argument(
        "--since", metavar="COMMIT", help="the commit that trained the runs [the newest with the code in dvc.lock]"
    )
    made.add_argument(
        "--steps", type=int, default=FEWEST_STEPS, help=f"the least number of training steps [{FEWEST_STEPS}]"
    )
    made.add_argument("--images", type=int, default=300, help="the largest number of test images to score [300]")
    made.add_argument(
        "--train-only", action="store_true", help="compare no scores, and leave evaluate@RUN to be run again"
    )
    arguments = made.parse_args(argv)
    for name, fewest in (("steps", FEWEST_STEPS), ("images", 1)):
        if (got := getattr(arguments, name)) < fewest:
            raise ValueError(f"--{name}: got {got}, expected at least {fewest}")
    try:
        kept = STAGES[:1] if arguments.train_only else STAGES
        sys.exit(_prove_all([*dict.fromkeys(arguments.runs)], kept, arguments.since, arguments.steps, arguments.images))
    except KeyboardInterrupt:
        sys.exit(f"interrupted; {LOCK} is unchanged")
    except StageFailed as error:
        raise ValueError(str(error)) from error


def _prove_all(runs: Sequence[str], kept: Sequence[str], named: str | None, steps: int, images: int) -> int:
    """Prove each run, and write dvc.lock if all proofs succeed; return the exit status."""
    params, lock = load_params(), read_lock()
    for run in runs:
        find(run, params.runs, "run")
    names = {run: _locked_names(run, kept, lock) for run in runs}
    since = commit_of(named) if named is not None else None
    with TemporaryDirectory(prefix="capsnet-prove-") as folder:
        now = Path(folder)
        snapshot(now)
        stages = {run: locked_stages(of_run, lock, now) for run, of_run in names.items()}
        stale = {run: of_run for run, of_run in stages.items() if any(each.stale for each in of_run)}
        commits = {run: commits_of(of_run, since) for run, of_run in stale.items()}
        for run in stages:
            if run not in stale:
                print(f"{run}: {LOCK} names the present code already")
        proved = [_prove_one(run, of_run, commits[run], now, steps, images) for run, of_run in stale.items()]
    if not all(proved):
        print(f"{LOCK} is unchanged")
        return 1
    if stale:
        written = [each for of_run in stale.values() for each in of_run if each.stale]
        write_lock(written)
        print(f"{LOCK} names the present code for {', '.join(each.stage for each in written)}")
    return 0


def _locked_names(run: str, kept: Sequence[str], lock: Mapping[str, LockEntry]) -> list[str]:
    """Return the names of the run's stages that dvc.lock has. Raises ValueError if it was never trained."""
    if f"train@{run}" not in lock:
        raise ValueError(f"{LOCK}: no train@{run}: it was never trained; `dvc repro train@{run}` trains it")
    return [f"{stage}@{run}" for stage in kept if f"{stage}@{run}" in lock]


def _prove_one(
    run: str, stages: Sequence[LockedStage], commits: Sequence[str], now: Path, steps: int, images: int
) -> bool:
    """Prove one run, and print what came out; return whether everything is equal."""
    then = " and ".join(dict.fromkeys(commit[:7] for commit in commits))
    try:
        compared = prove(run, stages, commits, now, steps, images)
    except Different as difference:
        print(f"{run}: differs from {then}: {difference}")
        return False
    print(f"{run}: equal to the byte since {then}: {compared}")
    for setting in dict.fromkeys(setting for each in stages for setting in each.new_settings):
        print(f"  new setting {setting}")
    return True


if __name__ == "__main__":
    run_stage(main)
