"""One implementation in a process of its own, which works when it is told to and tells how long it took.

    python -m tests.benchmarks.worker '{"kind": "step", "case": "mnist", "implementation": "bmm", ...}'

It reads a command a line, `run`, `split` or `memory`, and answers each with a line of JSON; the first line, before any
command, says that it is warm.
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.cases import PLAIN, BenchmarkJob

if TYPE_CHECKING:
    import torch

STATUS = Path("/proc/self/status")
TINY = 8  # lower capsules of a first call, which loads what is loaded once: not the memory of routing


def resident(key: str) -> float:
    """Return memory of this process in MB: VmRSS is what it holds, VmHWM the most it held since `forget_peak`."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024 / 1e6


def forget_peak() -> None:
    """Let VmHWM start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


class Memory:
    """The rise of the peak above what is held when it is made: of the process, or of torch's memory on a GPU."""

    def __init__(self, device: "torch.device") -> None:
        import torch

        self.cuda = torch.cuda if device.type == "cuda" else None
        if self.cuda is not None:
            self.cuda.synchronize()
            self.cuda.reset_peak_memory_stats()
            self.held = self.cuda.memory_allocated() / 1e6
        else:
            forget_peak()
            self.held = resident("VmRSS")

    def warm(self) -> None:
        """On a GPU, leave out what only the first steps needed: copies that are made while a step is recorded."""
        if self.cuda is not None:
            self.cuda.empty_cache()
            self.cuda.reset_peak_memory_stats()

    def rise(self) -> float:
        """Return MB."""
        if self.cuda is None:
            return resident("VmHWM") - self.held
        self.cuda.empty_cache()
        # A recorded step keeps its memory reserved, and allocates nothing when it is replayed.
        return max(self.cuda.memory_reserved(), self.cuda.max_memory_allocated()) / 1e6 - self.held


def configure(job: BenchmarkJob) -> "torch.device":
    """Set up torch: ours as the stages do, deterministic and without TF32; the plain networks as torch comes."""
    import torch

    from pipeline.runtime.device import configure_torch

    if job["implementation"] in PLAIN:
        torch.set_num_threads(job["threads"])
        return torch.device(job["device"])
    return configure_torch(job["device"], job["threads"]).device


def main(job: BenchmarkJob) -> None:
    """Build what the job names, warm up, and serve."""
    # Everything that any of the implementations imports, before memory is counted.
    import torch._dynamo
    import torch._inductor

    from tests.benchmarks import workloads

    device = configure(job)
    if device.type == "cuda":
        torch.zeros(1, device=device)
    if job["kind"] == "step":
        memory = Memory(device)
        workload, gradients = workloads.step_workload(job, device), 0.0
    else:
        workloads.routing_workload(job, TINY, device)[0].steps()
        workload, leaves = workloads.routing_workload(job, job["lower"], device)
        gradients = sum(leaf.numel() * leaf.element_size() for leaf in leaves) / 1e6
        memory = Memory(device)
    workload.steps()
    memory.warm()
    _answer({})
    for line in sys.stdin:
        command = line.strip()
        if command == "run":
            workloads.synchronise(device)
            start = time.perf_counter()
            workload.steps()
            workloads.synchronise(device)
            _answer({"seconds": (time.perf_counter() - start) / job["steps"]})
        elif command == "split":
            _answer(workloads.split(workload.parts, device))
        elif command == "memory":
            _answer({"mb": memory.rise() - gradients})


def _answer(values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
