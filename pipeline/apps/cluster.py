"""Run stages, with all that they need, on many workers at once: like `dvc repro`, which runs one stage at a time.

    python -m pipeline.apps.cluster report@paper                     (this machine: a worker per GPU, or per two cores)
    python -m pipeline.apps.cluster report@digits --workers 2
    python -m pipeline.apps.cluster report@paper --scheduler tcp://head:8786            (workers that Dask runs already)

Afterwards `dvc status` is clean, and the files and dvc.lock are those that `dvc repro` makes, to the byte. Stages that
are up to date are skipped, and those in the run cache are restored. A stage that trains takes a GPU if there is one,
any other stage a core.

If a worker is lost, its stage continues elsewhere from its checkpoint. If a stage fails, the stages that depend on it
are left out and all others are finished. After Ctrl-C, the same command continues. The output of each stage is in
.scratch/cluster/. Workers on other machines need this folder at the same path, on a shared file system: docs/scale.md.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.apps.mend import mend_and_say, project
from pipeline.apps.workers.local import local_cluster, usual_number
from pipeline.apps.workers.progress import duration
from pipeline.apps.workers.project_lock import earlier, finish, only_one
from pipeline.apps.workers.stages import StagePlan
from pipeline.runtime.command_line import parser, run_stage

if TYPE_CHECKING:
    from pipeline.apps.workers.conductor import Outcome

EXTRA = 'the package distributed is missing; `pip install ".[cluster]"` brings it'


@contextmanager
def interrupts_call(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C or SIGTERM, so that no record is half written. The second ends the process."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, frame: object) -> None:
        restore()
        stop()

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def connected(scheduler: str | None, number: int, folder: Path) -> Iterator[tuple[Any, Callable[[], Iterator[str]]]]:
    """Yield a client of Dask, and a function that replaces lost workers.

    Raises ValueError if the scheduler does not answer.
    """
    import distributed

    if scheduler is None:
        with local_cluster(number, folder) as (client, workers):
            yield client, workers.replace_lost
        return
    engine: Any = distributed
    try:
        client = engine.Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"--scheduler: got {scheduler}, which does not answer: {error}") from error
    with client:
        yield client, lambda: iter(())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("targets", metavar="TARGET", nargs="*", help="stages, as `dvc repro` takes them [all]")
    made.add_argument("--workers", type=int, metavar="N", help="on this machine [one per GPU, or else per two cores]")
    made.add_argument("--scheduler", metavar="ADDRESS", help="use the workers of this scheduler instead")
    arguments = made.parse_args(argv)
    if arguments.workers is not None and arguments.scheduler:
        raise ValueError("--workers: got --scheduler as well, expected one; a scheduler has workers of its own")
    if arguments.workers is not None and arguments.workers < 1:
        raise ValueError(f"--workers: got {arguments.workers}, expected at least 1")
    _conduct(arguments.targets, arguments.scheduler, arguments.workers)


def _conduct(targets: Sequence[str], scheduler: str | None, number: int | None) -> None:
    try:
        from pipeline.apps.workers.conductor import Conductor
    except ModuleNotFoundError as error:
        raise ValueError(f"cluster: {EXTRA} ({error})") from error
    began = time.monotonic()
    with only_one(project()) as folder:
        mend_and_say(project())
        plan = StagePlan(targets)
        before = earlier(folder, plan.recorded())
        with connected(scheduler, number or usual_number(), folder) as (client, tend):
            print(f"dashboard: {client.dashboard_link}", flush=True)
            conductor = Conductor(plan, client, folder)
            with interrupts_call(conductor.stop), plan.staged_in_git():
                try:
                    outcome = conductor.run(tend)
                finally:
                    plan.sort(before)
        if not outcome.failed:
            finish(folder)
    _conclude(outcome, len(plan.order), time.monotonic() - began)


def _conclude(outcome: "Outcome", stages: int, seconds: float) -> None:
    """Print what was done. Exits with status 1 if a stage failed."""
    print(
        f"{stages} stages in {duration(seconds)}: "
        f"{outcome.run} run, {outcome.restored} restored, {outcome.unchanged} unchanged"
    )
    if outcome.failed:
        for stage, why in outcome.failed.items():
            print(f"error: {stage}: {why}", file=sys.stderr)
        left_out = stages - outcome.done - len(outcome.failed)
        sys.exit(f"{len(outcome.failed)} failed; {left_out} left out, which depend on them")


if __name__ == "__main__":
    run_stage(main)
