"""Each folder of a study full, read-only or gone while stages run, and a slow disk: one line, then the same bytes."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from errands import wait_until
from warm_python import warm

from tests.faults.faulty_study import DVC, RUN, begin, difference, finish, made, make_study, own_variables
from tests.faults.result import Fault

TEST = "tests/faults/test_folders.py"
FOLDERS = ("data", "models", "reports", ".scratch", "tensorboard", ".dvc/cache")
PAUSE = 0.1  # seconds for each file, on a slow disk
# The stages of the study in one process, as DVC would run them.
STAGES = """
import os, sys, time
from pipeline import evaluate, prepare, tabulate, train
from pipeline.runtime.command_line import run_stage

fsync = os.fsync
pause = float(sys.argv[1]) if sys.argv[1:] else 0
os.fsync = lambda file: (time.sleep(pause), fsync(file))

def main():
    prepare.main(["squares"])
    train.main(["toy-fc"])
    evaluate.main(["toy-fc"])
    tabulate.main(["toy-decoders"])

run_stage(main)
"""
BY_HAND = (sys.executable, "-c", STAGES)
MOUNTED = ("unshare", "-rm", "sh", "-c")  # a command with mounts of its own
MOUNTS = {
    "full": 'mkdir -p {0} && mount -t tmpfs -o size=4k none {0} && head -c 4096 /dev/zero > {0}/rest; exec "$@"',
    "read-only": 'mkdir -p {0} && mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec "$@"',
}
DELETED, SLOW = "deleted", "slow"
FAULTS = (*MOUNTS, DELETED, SLOW)


class EndedCommand(NamedTuple):
    """A command that has ended."""

    status: int
    said: str

    @property
    def errors(self) -> list[str]:
        """Its lines about errors."""
        return [line for line in self.said.splitlines() if line.startswith(("error: ", "ERROR: "))]


def folders(folder: Path, names: tuple[str, ...] = FOLDERS, faults: tuple[str, ...] = FAULTS) -> Iterator[Fault]:
    """Let each folder be full, read-only and gone in the middle of the training, and the disk be slow."""
    whole_study = make_study(folder / "whole")
    status, said = finish(whole_study)
    if status:
        raise RuntimeError(f"the undisturbed study failed: {said}")
    whole = made(whole_study)
    for name in names:
        by_dvc = name.startswith(".dvc")
        row = partial(_row, folder=folder, whole=whole, by_dvc=by_dvc)
        for fault in [each for each in MOUNTS if each in faults]:
            yield row(f"{name} is {fault}", partial(_mounted, name=name, fault=fault, by_dvc=by_dvc))
        if DELETED in faults:
            yield row(f"{name} is deleted in the middle of the training", partial(_deleted, name=name, by_dvc=by_dvc))
    if SLOW in faults:
        slow = partial(_run, command=(*BY_HAND, str(PAUSE)))
        yield _row(f"the disk takes {PAUSE} s for each file", slow, folder=folder, whole=whole, by_dvc=False)


def _row(
    what: str, do: Callable[[Path], EndedCommand | None], *, folder: Path, whole: dict[str, bytes], by_dvc: bool
) -> Fault:
    """Do a fault to a new study, then finish the study: by DVC, or stage after stage by hand."""
    study = make_study(Path(tempfile.mkdtemp(dir=folder)))
    ended = do(study)
    if ended is None:
        return Fault(what, 0, "not tried: this system lets no user mount a disk", "nothing", TEST)
    lost = [] if ended.status == 0 or ended.errors else [f"status {ended.status} without a line: {ended.said[-200:]}"]
    lost += [f"{len(ended.errors)} lines"] if len(ended.errors) > 1 else []
    lost += ["a traceback"] if "Traceback" in ended.said else []
    later = EndedCommand(*finish(study)) if by_dvc else _run(study, ("python", *BY_HAND[1:]), warm(own_variables()))
    lost += [f"later: status {later.status}: {later.said[-200:]}"] if later.status else []
    wanted = whole if by_dvc else {name: content for name, content in whole.items() if name != "dvc.lock"}
    lost += [f"differs: {differs}"] if (differs := difference(study, wanted)) else []
    shutil.rmtree(study)
    happened = "it went on" if ended.status == 0 else "it ended with one line; the next start went on"
    return Fault(what, 1, happened, "; ".join(lost) or "nothing", TEST)


def _mounted(study: Path, *, name: str, fault: str, by_dvc: bool) -> EndedCommand | None:
    """Run the study with a folder full or read-only; None if this system lets no user do that."""
    prefix = (*MOUNTED, MOUNTS[fault].format(name), "sh")
    probe = subprocess.run([*prefix, "true"], cwd=study, capture_output=True, check=False)
    return None if probe.returncode else _run(study, (*prefix, *_command(by_dvc)))


def _deleted(study: Path, *, name: str, by_dvc: bool) -> EndedCommand:
    """Delete a folder as soon as the training has written a state."""
    process = begin(study, _command(by_dvc))
    states = f".scratch/train/{RUN}/*/*.state.safetensors"
    wait_until(lambda: any(study.glob(states)) or process.poll() is not None)
    shutil.rmtree(study / name, ignore_errors=True)
    status = process.wait(250)
    return EndedCommand(status, (study / "said.txt").read_text(encoding="utf-8"))


def _command(by_dvc: bool) -> tuple[str, ...]:
    """Return the command that runs the study. With -q, DVC would not show its errors either."""
    return tuple(word for word in DVC if word != "-q") if by_dvc else BY_HAND


def _run(study: Path, command: tuple[str, ...], variables: dict[str, str] | None = None) -> EndedCommand:
    chosen = variables or own_variables()
    ended = subprocess.run(command, cwd=study, env=chosen, capture_output=True, text=True, check=False)
    return EndedCommand(ended.returncode, ended.stderr)
