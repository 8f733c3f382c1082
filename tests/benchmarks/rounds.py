"""Measurements in turns: all processes of a comparison stay alive, and only one works at a time.

A machine that gets slower or faster does so for all implementations of a round, so ratios are taken within rounds.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

from tests.benchmarks.cases import BenchmarkJob


class Measured(NamedTuple):
    """What one implementation took: seconds a step of each round, median seconds of its parts, peak memory."""

    job: BenchmarkJob
    seconds: list[float]
    parts: dict[str, float]
    mb: float

    @property
    def images_per_second(self) -> list[float]:
        """Speed of each round."""
        return [self.job["batch"] / each for each in self.seconds]


class Worker:
    """A process that measures on command; raises RuntimeError when it ends by itself."""

    def __init__(self, job: BenchmarkJob) -> None:
        self.job = job
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=untouched(job["threads"]),
        )
        self._read()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def ask(self, command: str) -> dict[str, float]:
        """Send a command and wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.job['implementation']}: its process ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure(jobs: Sequence[BenchmarkJob], rounds: int) -> list[Measured]:
    """Let all implementations take turns, each first in some round; peaks are of everything up to the last one."""
    with ExitStack() as alive:
        workers = [alive.enter_context(Worker(job)) for job in jobs]
        seconds: list[list[float]] = [[] for _ in jobs]
        for turn in range(rounds):
            for place in _turned(range(len(jobs)), turn):
                seconds[place].append(workers[place].ask("run")["seconds"])
        peaks = [worker.ask("memory")["mb"] for worker in workers]
        splits: list[list[dict[str, float]]] = [[] for _ in jobs]
        for turn in range(rounds if jobs[0]["kind"] == "step" else 0):
            for place in _turned(range(len(jobs)), turn):
                splits[place].append(workers[place].ask("split"))
        return [
            Measured(worker.job, times, _medians(parts), mb)
            for worker, times, parts, mb in zip(workers, seconds, splits, peaks, strict=True)
        ]


def times_faster(ours: Measured, other: Measured) -> float:
    """Return how many times faster ours is: the median over the rounds of the ratio within each."""
    return median(slow / fast for fast, slow in zip(ours.seconds, other.seconds, strict=True))


def untouched(threads: int) -> dict[str, str]:
    """Return the environment without what setting up torch in this process has added to it."""
    kept = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    return {**kept, "OMP_NUM_THREADS": str(threads)}


def _turned(places: range, turn: int) -> list[int]:
    first = turn % len(places)
    return [*places[first:], *places[:first]]


def _medians(splits: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(each[name] for each in splits) for name in splits[0]} if splits else {}
