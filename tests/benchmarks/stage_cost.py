"""Run the stage `train digits-fc` for one epoch and tell where its time went, as the last line, in JSON.

python -m tests.benchmarks.stage_cost START tracked|untracked OUT

START is what `time.perf_counter()` said to the process that started this one: the clock is the machine's.
"""

import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from pipeline import train
from pipeline.tracking.recorder import MlflowRecorder, NoRecorder, Recorder
from pipeline.training.job import Job

SETTINGS = ("--set", "epochs=1", "--seeds", "0", "--device", "cpu")
RECORDING = ("log", "tag", "attach")  # what a stage calls; the rest is within opening and closing a run


def count_tracking(spent: dict[str, float]) -> None:
    """Add up the seconds that recording takes, under "tracking"."""

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def timed_call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                spent["tracking"] += time.perf_counter() - start

        return timed_call

    for name in RECORDING:
        setattr(MlflowRecorder, name, timed(getattr(MlflowRecorder, name)))
    opened = Job._record

    @contextmanager
    def timed_run(*arguments: Any) -> Iterator[Recorder]:
        manager = opened(*arguments)
        yielded = timed(manager.__enter__)()
        yield yielded
        timed(manager.__exit__)(None, None, None)

    Job._record = timed_run


def count_epochs(spent: dict[str, float], started: float) -> None:
    """Add up the seconds between the first step and the last of an epoch, and keep when the first one began."""
    from capsnet.training.step import Trainer

    epoch = Trainer.epoch

    def timed_epoch(*arguments: Any) -> Iterator[int]:
        start = time.perf_counter()
        spent.setdefault("first_step", start - started)
        yield from epoch(*arguments)
        spent["epoch"] += time.perf_counter() - start

    Trainer.epoch = timed_epoch  # type: ignore[method-assign]


def main(started: float, recording: str, out: str) -> None:
    """Run the stage."""
    spent = {"tracking": 0.0, "epoch": 0.0}
    if recording == "untracked":
        Job._record = lambda *_: nullcontext(NoRecorder())
    else:
        count_tracking(spent)
    count_epochs(spent, started)
    train.main(["digits-fc", *SETTINGS, "--out", out])
    print(json.dumps(spent))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2], sys.argv[3])
