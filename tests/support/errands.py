"""A project of errands: stages that wait, fail and say where they run as a test likes, and need no torch."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tiny_project import ROOT
from warm_python import warm

WORK = r'''"""Do an errand: python work.py NAME OUT IN..."""
import os
import pathlib
import sys
import time

name, out, *sources = sys.argv[1:]
tries = pathlib.Path("tries")
with (tries / name).open("a") as file:
    file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES') or 'none'} {os.environ['DVC_STAGE']}\n")
while pathlib.Path("gates", name).exists():
    time.sleep(0.02)
if pathlib.Path("faults", name).exists():
    print("working")
    sys.exit("it does not work")
paths = [path for source in map(pathlib.Path, sources) for path in sorted(source.glob("*.txt")) or [source]]
text = "".join(path.read_text() for path in paths)
pathlib.Path(out).parent.mkdir(exist_ok=True)
pathlib.Path(out).write_text(f"{name} {len(text.strip())}\n")
'''
STAGES = """
stages:
  prepare:
    cmd: python work.py prepare prepared.txt source.txt
    deps: [source.txt, work.py]
    outs: [prepared.txt]
  train:
    foreach: [a, b, c]
    do:
      cmd: python work.py train-${item} models/${item}.txt prepared.txt
      deps: [prepared.txt, work.py]
      outs: ["models/${item}.txt"]
  evaluate:
    foreach: [a, b, c]
    do:
      cmd: python work.py evaluate-${item} scores/${item}.txt models/${item}.txt
      deps: ["models/${item}.txt", work.py]
      metrics:
        - scores/${item}.txt: {cache: false}
  report:
    cmd:
      - python work.py report page.txt scores
      - python work.py stamp stamp.txt page.txt
    deps: [scores, work.py]
    outs:
      - page.txt: {cache: false}
      - stamp.txt
"""


class Errands:
    """The project's folder, and commands in it."""

    command = (sys.executable, "-m", "pipeline.apps.cluster")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def make(self) -> None:
        for name in ("tries", "gates", "faults"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "work.py").write_text(WORK)
        (self.folder / "dvc.yaml").write_text(STAGES)
        (self.folder / "source.txt").write_text("one\n")
        shutil.copytree(ROOT / ".dvc", self.folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
        (self.folder / ".gitignore").write_text(
            "/prepared.txt\n/models/\n/stamp.txt\n/tries/\n/gates/\n/faults/\n/.scratch/\n"
        )
        self.call("git", "init", "--quiet")
        self.call("git", "add", "--all")

    def start(self, *command: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a command; it and its environment are those of a user in this folder."""
        self.started.append(
            subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PATH": self.path, "PYTHONPATH": str(ROOT), **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return self.started[-1]

    def cluster(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return self.start(*self.command, *arguments, **environment)

    def call(self, *command: str, status: int = 0) -> str:
        """Run a command to its end, and return what it says."""
        return ended(self.start(*command, **warm({"PATH": self.path})), status)

    def tries(self, name: str) -> list[list[str]]:
        """Return process, GPU and stage of each try of an errand."""
        path = self.folder / "tries" / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def close(self, *names: str) -> None:
        """Let errands wait from now on."""
        for name in names:
            (self.folder / "gates" / name).touch()

    def open(self, *names: str) -> None:
        """Let errands go on."""
        for name in names:
            (self.folder / "gates" / name).unlink()

    def await_tries(self, name: str, number: int = 1) -> int:
        """Wait until an errand has been tried so often, and return the process of the last try."""
        wait_until(lambda: len(self.tries(name)) >= number)
        return int(self.tries(name)[-1][0])

    def made(self) -> dict[str, bytes]:
        """Return all that the stages and DVC made: outputs, dvc.lock, DVC's cache."""
        outputs = ("prepared.txt", "models/*", "scores/*", "page.txt", "stamp.txt", "dvc.lock")
        paths = [path for pattern in outputs for path in self.folder.glob(pattern)]
        paths += [path for path in (self.folder / ".dvc/cache").rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def ended(process: "subprocess.Popen[str]", status: int = 0) -> str:
    """Wait for a process; its exit status has to be this one."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == status, said
    return said


def wait_until(reached: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def lives(process: int) -> bool:
    """Tell whether a process is there, and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
