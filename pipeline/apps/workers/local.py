"""Workers on this machine: a process each, started anew when it ends."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

GPU, CORE = "gpu", "core"  # resources of workers
GPUS = "CUDA_VISIBLE_DEVICES"
PATIENCE = 30  # seconds for a worker to end, and to find its scheduler
MOST_RESTARTS = 5  # of one worker, without SETTLED seconds between them
SETTLED = 60


def gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; CUDA ignores what follows -1."""
    if (named := os.environ.get(GPUS)) is not None:
        names = [each.strip() for each in named.split(",")]
        return [each for each in takewhile(lambda name: name != "-1", names) if each]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def usual_number() -> int:
    """Return how many workers this machine gets by itself: one per GPU, or else one per two cores."""
    return len(gpus()) or max(1, len(os.sched_getaffinity(0)) // 2)


class LocalWorkers:
    """Workers of one scheduler. Each has a core; the first ones also have a GPU each, as many as there are GPUs.

    They run in sessions of their own, so that Ctrl-C in a terminal reaches this process alone.
    """

    def __init__(self, number: int, scheduler: str, folder: Path) -> None:
        self.scheduler = scheduler
        self.folder = folder
        self.gpus = gpus()
        self.restarts = [0] * number
        self.since = [0.0] * number
        self.processes = [self._start(place) for place in range(number)]

    def _start(self, place: int) -> "subprocess.Popen[bytes]":
        has_gpu = place < len(self.gpus)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.scheduler]
        command += ["--name", f"worker-{place}", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
        command += ["--death-timeout", str(PATIENCE)]
        # With a GPU: a training, and a stage that needs a core beside it.
        command += ["--nthreads", "2" if has_gpu else "1"]
        command += ["--resources", f"{CORE}=1,{GPU}=1" if has_gpu else f"{CORE}=1"]
        environment = {**os.environ}
        if self.gpus:
            environment[GPUS] = self.gpus[place % len(self.gpus)]
        self.since[place] = time.monotonic()
        with self._log(place).open("ab") as log:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _log(self, place: int) -> Path:
        return self.folder / f"worker-{place}.log"

    def replace_lost(self) -> Iterator[str]:
        """Restart workers that have ended; yield a message for each. Raises ValueError if one ends again and again."""
        for place, process in enumerate(self.processes):
            if (status := process.poll()) is not None:
                settled = time.monotonic() - self.since[place] > SETTLED
                self.restarts[place] = 1 if settled else self.restarts[place] + 1
                if self.restarts[place] > MOST_RESTARTS:
                    raise ValueError(f"worker-{place} ends whenever it is started; {self._log(place)} says why")
                self.processes[place] = self._start(place)
                yield f"worker-{place} ended (status {status}): started again, and its stage is tried again"

    def end(self) -> None:
        """End all workers."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def local_cluster(number: int, folder: Path) -> Iterator[tuple[Any, LocalWorkers]]:
    """Yield a client of a scheduler in this process, and its workers."""
    import distributed

    engine: Any = distributed
    with (
        engine.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:8787", silence_logs=50) as cluster,
        engine.Client(cluster) as client,
    ):
        workers = LocalWorkers(number, cluster.scheduler_address, folder)
        try:
            yield client, workers
        finally:
            workers.end()
