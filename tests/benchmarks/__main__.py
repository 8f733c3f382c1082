"""Measure training steps beside plain formulations, routing alone, and fixed costs: reports/benchmarks/.

    python -m tests.benchmarks
    python -m tests.benchmarks --check --only steps --cases mnist

Leave the machine alone meanwhile. Rounds of all implementations follow each other, so that a slower minute is slower
for all of them. With --check a target that is not met gives status 1.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import computed_precision, configure_torch, versions
from pipeline.runtime.paths import REPORTS
from tests.benchmarks.cases import CASES, LOWER, LOWER_SAME, BenchmarkJob, routing_jobs, run_settings, step_jobs
from tests.benchmarks.fixed import fixed_costs
from tests.benchmarks.rounds import Measured, measure, untouched
from tests.benchmarks.speed_figure import write_figure
from tests.benchmarks.speed_tables import (
    Setting,
    fixed_markdown,
    gpu_markdown,
    routing_markdown,
    routing_rows,
    steps_markdown,
    steps_rows,
    write_table,
)
from tests.benchmarks.targets import targets

TABLES_MADE = ("steps", "routing", "fixed", "gpu")
STEPS = {"cpu": 2, "cuda": 50}  # of a measurement
GPU = {"images": 60_000, "epochs": 3, "product": 8192, "repeats": 20}


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--device", choices=("cpu", "cuda"), help="what computes; cuda where there is one")
    made.add_argument("--threads", type=int, help="of each process; those of params.yaml")
    made.add_argument("--batch", type=int, default=128, help="images a step [128]")
    made.add_argument("--rounds", type=int, default=5, help="measurements of each implementation [5]")
    made.add_argument("--steps", type=int, help="training steps of a measurement [2, on a GPU 50]")
    made.add_argument("--only", choices=TABLES_MADE, nargs="+", default=TABLES_MADE, help="these tables")
    made.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES), help="these networks")
    made.add_argument("--out", type=Path, default=REPORTS / "benchmarks", help="folder [reports/benchmarks]")
    made.add_argument("--check", action="store_true", help="status 1 if a target is not met")
    return made.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write and compare with the targets."""
    arguments = _arguments(argv)
    threads = arguments.threads or run_settings().threads
    hardware = configure_torch(arguments.device or "auto", threads)
    device = hardware.device.type
    settings = {
        "device": device,
        "threads": threads,
        "batch": arguments.batch,
        "steps": arguments.steps or STEPS[device],
        "bfloat16": computed_precision("bfloat16", hardware.device) == "bfloat16",
    }
    if not settings["bfloat16"]:
        print("bfloat16: not measured, for this hardware does not compute it")
    facts = versions(hardware)
    setting = Setting(facts["hardware"], facts["torch"], facts["python"], _commit(), arguments.batch, device == "cuda")
    steps: list[dict[str, object]] = []
    routing: list[dict[str, object]] = []
    if "steps" in arguments.only:
        steps = steps_rows(
            _measured([step_jobs(case, settings) for case in arguments.cases], arguments.rounds), setting
        )
        write_table(arguments.out, "steps", steps, steps_markdown(steps, setting))
        write_figure(arguments.out, steps)
    if "routing" in arguments.only:
        jobs = [routing_jobs(lower, settings) for lower in (LOWER, LOWER_SAME)]
        routing = routing_rows(_measured(jobs, arguments.rounds), setting)
        write_table(arguments.out, "routing", routing, routing_markdown(routing, setting))
    if "fixed" in arguments.only:
        costs = fixed_costs(threads, arguments.rounds)
        write_table(arguments.out, "fixed", [cost.row() for cost in costs], fixed_markdown(costs, setting))
    if "gpu" in arguments.only and device != "cuda":
        print("gpu: not measured, for there is none")
    elif "gpu" in arguments.only:
        rows = _gpu({**settings, **GPU})
        write_table(arguments.out, "gpu", rows, gpu_markdown(rows, setting))
    reached = list(targets(steps, routing))
    print(*reached, sep="\n")
    if arguments.check and not all(target.met for target in reached):
        sys.exit(1)


def _measured(comparisons: Sequence[Sequence[BenchmarkJob]], rounds: int) -> list[Measured]:
    """Measure one comparison after the other, and say what came out so far."""
    everything = []
    for jobs in comparisons:
        for each in measure(jobs, rounds):
            name = f"{each.job.get('case', each.job.get('lower'))} {each.job['implementation']}"
            seconds = ", ".join(f"{one:.3f}" for one in each.seconds)
            print(f"{name:<22} seconds a step: {seconds}; {each.mb:.0f} MB", flush=True)
            everything.append(each)
    return everything


def _gpu(settings: dict[str, Any]) -> list[dict[str, object]]:
    """Measure in a process of its own, where torch is not set up yet."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu", json.dumps(settings)]
    environment = untouched(settings["threads"])
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    rows: list[dict[str, object]] = json.loads(ended.stdout.splitlines()[-1])
    return rows


def _commit() -> str:
    """Return the commit that is measured, with `-dirty` for changes that are in none."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    run_stage(main)
