"""Measure the digits study on two workers of one thread beside `dvc repro` with two threads, and compare bytes.

    python -m tests.benchmarks.study_by_workers

Leave the machine alone meanwhile: it makes the study three times, each in a clone of the last commit without any
result. With equal numbers of threads, files and dvc.lock have to be equal. The times are written to
reports/workers.csv.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from capsnet.files import write_whole
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import REPORTS, csv_text

STUDY = "digits"
TARGET = f"report@{STUDY}"
RESULTS = ("dvc.lock", f"reports/{STUDY}", "reports/scores", "reports/curves", "published")
SAME_ORDER = {"PYTHONHASHSEED": "0"}  # DVC goes over sets of stages: their order, and that in dvc.lock, follows from it
COMPARED = ("dvc.lock", "data/*.*", "models/*/*", f"reports/{STUDY}/**/*", "reports/scores/*", "reports/curves/*")
REPRO = ("dvc", "repro", TARGET)
CLUSTER = ("python", "-m", "pipeline.apps.cluster", TARGET, "--workers", "2")


class Way(NamedTuple):
    """A way to make the study."""

    name: str
    command: tuple[str, ...]
    threads: int


WAYS = (
    Way("dvc repro, 2 threads", REPRO, 2),
    Way("dvc repro, 1 thread", REPRO, 1),
    Way("2 workers, 1 thread each", CLUSTER, 1),
)


def clone(folder: Path, threads: int) -> None:
    """Make a clone of the last commit that has no result, with this number of threads in every run."""
    subprocess.run(["git", "clone", "--quiet", str(Path.cwd()), str(folder)], check=True)
    for name in RESULTS:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    params = folder / "params.yaml"
    params.write_text(with_threads(params.read_text(encoding="utf-8"), threads), encoding="utf-8")


def with_threads(params: str, threads: int) -> str:
    """Return params.yaml with another number of threads in every preset and run that names one."""
    return re.sub(r"\bthreads: \d+", f"threads: {threads}", params)


def seconds_of(way: Way, folder: Path) -> float:
    """Make the study in a folder, and return how long it took."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    began = time.perf_counter()
    subprocess.run(way.command, cwd=folder, env={**os.environ, "PATH": path, **SAME_ORDER}, check=True)
    return time.perf_counter() - began


def differing(one: Path, other: Path) -> list[str]:
    """Return the files that one folder has and the other has not, or with other bytes."""
    contents = [
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for pattern in COMPARED
            for path in folder.glob(pattern)
            if path.is_file()
        }
        for folder in (one, other)
    ]
    return sorted(name for name in contents[0].keys() | contents[1].keys() if len({c.get(name) for c in contents}) > 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, compare and write. Exits with status 1 if bytes differ."""
    made = parser(__doc__)
    made.add_argument("--out", type=Path, default=REPORTS / "workers.csv", help="the table [reports/workers.csv]")
    arguments = made.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="capsnet-workers-") as name:
        folders = [Path(name, str(number)) for number in range(len(WAYS))]
        rows = []
        for way, folder in zip(WAYS, folders, strict=True):
            clone(folder, way.threads)
            rows.append({"way": way.name, "threads": way.threads, "seconds": round(seconds_of(way, folder), 1)})
            print(f"{way.name}: {rows[-1]['seconds']} s", flush=True)
        differences = differing(*folders[1:])
    write_whole(arguments.out, csv_text(rows))
    print(
        "with one thread, both ways made the same bytes" if not differences else f"different: {', '.join(differences)}"
    )
    if differences:
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
