"""Test and measure most of what was written for a GPU: reports/gpu/.

    python -m tests.gpu                                     (`make gpu`: at most eight minutes)
    python -m tests.gpu --device cpu --small --out /tmp/x   (the same script on a CPU, with tiny sizes)

Every step is a process of its own with a time limit of its own. Its numbers are written as they come, and a step that
fails or takes too long leaves the next ones alone. Status 1 if a step failed, at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import REPORTS
from tests.gpu.gpu_table import GpuRow, RowSheet
from tests.gpu.workplace import PREPARED, ROOT, furnish

TESTS = ROOT / "tests"
MARK = "pytest.mark.gpu"
TRAINED = "mnist-deconv_bn"  # the run that takes what is left of the time
LEAST = 20  # seconds without which no step is begun
STARTS = 45  # seconds in which the last training and its scoring start and end, without the epochs
LIMITS = {"checks": 60, "steps": 150, "epoch": 90, "checkpoint": 60, "processes": 60}
NEED_MNIST = ("epoch", "processes", "training")


class Step(NamedTuple):
    """One process: its name, its command, how many seconds it may take, and its working directory."""

    name: str
    command: list[str]
    limit: float
    place: Path = ROOT


def steps(arguments: argparse.Namespace, settings: dict[str, object], place: Path, sheet: RowSheet) -> Iterator[Step]:
    """Name all steps but the last in their order."""
    yield measuring("environment", settings, 60)
    settings["rates"] = sheet.rates()
    if "tests" in arguments.only:
        for path in marked_files():
            which = "not slow" if path.stem == "test_triton_routing" else "gpu and not slow"
            # Of the plugins that may be installed: one writes files, one warns beside parallel tests.
            without = ["-p", "no:cacheprovider", "-p", "no:benchmark"]
            command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=short", *without, "-m", which]
            parallel = ["-n", str(arguments.workers)] if arguments.workers else []
            yield Step(f"tests {path.name}", [*command, *parallel, str(path)], 150)
    if set(NEED_MNIST) & set(arguments.only):
        if not (ROOT / PREPARED).is_file() and not arguments.small:
            yield Step("data", [sys.executable, "-m", "dvc", "repro", "prepare@mnist"], 60)
        furnish(place, small=arguments.small)
    for name, limit in LIMITS.items():
        if name in arguments.only:
            yield measuring(name, settings, limit, place if name in NEED_MNIST else ROOT)


def measuring(name: str, settings: Mapping[str, object], limit: float, place: Path = ROOT) -> Step:
    """Return a step of `tests.gpu.measure`."""
    return Step(name, [sys.executable, "-m", "tests.gpu.measure", name, json.dumps(settings)], limit, place)


def marked_files() -> list[Path]:
    """Return the test files with tests that need a GPU."""
    return [path for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text(encoding="utf-8")]


def run(step: Step, limit: float, sheet: RowSheet, logs: Path, device: str) -> bool:
    """Run one step, add its rows to the sheet as they come, and keep its output; tell whether it ended well."""
    start = time.monotonic()
    log = logs / f"{step.name.replace(' ', '-')}.log"
    command = ["timeout", "--kill-after=5", f"{limit:.0f}", *step.command]
    last = ""
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(step.place, device),
            cwd=step.place,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            if (row := GpuRow.read(line, step.name)) is not None:
                sheet.add(row)
                print(row.words(), flush=True)
            elif line.strip():
                last = line.strip()
    seconds = time.monotonic() - start
    verdict = {0: "ok", 124: "too slow", 137: "too slow"}.get(process.returncode, "failed")
    of_tests = step.name.startswith("tests")
    if sheet.failed(step.name) or (of_tests and device == "cuda" and " passed" not in last):
        verdict = "failed"  # skipped tests say nothing
    sheet.add(GpuRow(step.name, "time", "s", seconds, verdict, last if verdict != "ok" or of_tests else ""))
    print(f"{step.name}: {verdict}, {seconds:.0f} s. {last[-300:]}", flush=True)
    return verdict == "ok"


def environment(place: Path, device: str) -> dict[str, str]:
    """Return the environment of a step; stages in a folder of their own also have a tracking store of their own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": path}
    if device == "cuda":
        variables["CAPSNET_TEST_GPU"] = "1"
    else:
        variables["TRITON_INTERPRET"] = "1"
    if place != ROOT:
        variables["MLFLOW_TRACKING_URI"] = f"sqlite:///{place / 'mlflow.db'}"
    return variables


def training(seconds: float, sheet: RowSheet, settings: Mapping[str, object], place: Path = ROOT) -> Step | None:
    """Name the training that fits into so many seconds, by the measured time of an epoch."""
    rows = {row.measurement: row.value for row in sheet.rows if row.step == "epoch"}
    epoch = rows.get(f"{TRAINED}, {settings['precision']}: an epoch")
    if epoch is None:
        return None
    number = min(2 if settings["small"] else 25, int((seconds - STARTS) / (1.1 * epoch)))
    if number < 1:
        return None
    return measuring("training", {**settings, "epochs": number}, seconds, place)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    made = parser(__doc__)
    names = ("tests", *LIMITS, "training")
    made.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what is tried [cuda]")
    made.add_argument("--minutes", type=float, default=8, help="all steps together [8]")
    made.add_argument("--only", choices=names, nargs="+", default=list(names), help="these steps")
    made.add_argument("--small", action="store_true", help="tiny sizes, to try the script itself")
    made.add_argument("--precision", default="tf32", help="of the training that takes the rest of the time [tf32]")
    made.add_argument("--workers", type=int, default=4, help="processes a test file, 0 for none of their own [4]")
    made.add_argument("--out", type=Path, default=REPORTS / "gpu", help="folder [reports/gpu]")
    return made.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run every step and write the table."""
    arguments = _arguments(argv)
    end = time.monotonic() + 60 * arguments.minutes
    settings = {"device": arguments.device, "small": arguments.small, "precision": arguments.precision, "rates": {}}
    logs = arguments.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    sheet = RowSheet(arguments.out)
    well = True
    with tempfile.TemporaryDirectory(prefix="capsnet-gpu-") as folder:
        place = Path(folder)
        for step in steps(arguments, settings, place, sheet):
            left = end - time.monotonic()
            if left < LEAST:
                sheet.add(GpuRow(step.name, "time", "s", None, "no time left", ""))
                well = False
                continue
            well &= run(step, min(step.limit, left), sheet, logs, arguments.device)
        if "training" in arguments.only:
            last = training(end - time.monotonic(), sheet, settings, place)
            if last is None:
                sheet.add(GpuRow("training", "time", "s", None, "no time left", "or no epoch was measured"))
                well = False
            else:
                well &= run(last, last.limit, sheet, logs, arguments.device)
    print(sheet.markdown())
    if not well:
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
