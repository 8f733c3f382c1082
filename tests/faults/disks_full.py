"""Folders that are full, read-only or gone while a training runs: one line, and it goes on when there is room."""

import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults.faulty_study import STAGE, finish, made, make_study, variables
from tests.faults.result import Fault

PREPARE = (sys.executable, "-m", "pipeline.prepare", "squares")
HALF = 20_000  # bytes: less than a training state


def _full() -> None:
    """Let no file of this process grow beyond HALF: the error is another than ENOSPC, the place is the same."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))


def _file_in_place(study: Path, name: str) -> None:
    """Put a file where a folder should be: it can neither be written into nor made."""
    shutil.rmtree(study / name, ignore_errors=True)
    (study / name).touch()


def folders(folder: Path) -> list[Fault]:
    """Take each folder that a training writes to away, then give it back."""
    whole = made(_finished(folder / "whole"))
    return [
        _fault(folder / name.strip("."), name, whole, lambda study, name=name: _file_in_place(study, name))
        for name in (".scratch", "models")
    ]


def _finished(folder: Path) -> Path:
    study = make_study(folder)
    status, said = finish(study)
    if status:
        raise RuntimeError(said)
    return study


def _fault(folder: Path, name: str, whole: dict[str, bytes], take: Callable[[Path], None]) -> Fault:
    study = make_study(folder)
    subprocess.run(PREPARE, cwd=study, env=variables(), check=True, capture_output=True)
    take(study)
    ended = subprocess.run(STAGE, cwd=study, env=variables(), capture_output=True, text=True, check=False)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    lost = [] if ended.returncode == 2 and len(errors) == 1 and "Traceback" not in ended.stderr else ["no single line"]
    (study / name).unlink()
    status, _ = finish(study)
    ours = made(study)
    if status or any(ours.get(path) != whole[path] for path in whole):
        lost.append("another result")
    happened = "one line; with the folder again the same bytes"
    return Fault(f"{name} cannot be written", 1, happened, "; ".join(lost) or "nothing", "tests.faults.disks_full")


def full_disk(folder: Path) -> Fault:
    """Let the disk be full when the first training state is written."""
    study = make_study(folder / "full")
    subprocess.run(PREPARE, cwd=study, env=variables(), check=True, capture_output=True)
    begun = subprocess.run(
        STAGE, cwd=study, env=variables(), capture_output=True, text=True, check=False, preexec_fn=_full
    )
    lost = [] if begun.returncode in (1, 2) and "Traceback" not in begun.stderr else [begun.stderr[-200:]]
    status, said = finish(study)
    lost += [said] if status else []
    happened = "one line; with room again it goes on"
    return Fault("no file can grow", 1, happened, "; ".join(lost) or "nothing", "tests.faults.disks_full")
