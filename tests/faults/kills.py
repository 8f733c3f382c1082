"""Kills at random times of a stage, of DVC alone and of the whole group of processes, by KILL, TERM and INT."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

from errands import lives, wait_until

from tests.faults.faulty_study import DVC, PREPARE, STAGE, begin, difference, finish, made, make_study, own_variables
from tests.faults.result import Fault

VICTIMS = ("the stage", "DVC", "the group")
LATEST = 9.0  # seconds after the start, or
SHARE = 0.6  # of the time that the whole study takes here, if that is later: a busy machine is killed as far on


def kills(folder: Path, count: int, number: signal.Signals) -> Fault:
    """Kill small studies `count` times by one signal, finish each, and compare it with an undisturbed study.

    Only kills of a process that still ran are counted. Each study is killed until it has come to its end.
    """
    draw = random.Random(number.name)
    whole_study = make_study(folder / "whole")
    began = time.monotonic()
    status, said = finish(whole_study, own_variables())  # as slow as those that are killed
    latest = max(LATEST, SHARE * (time.monotonic() - began))
    if status:
        raise RuntimeError(f"the undisturbed study failed: {said}")
    whole = made(whole_study)
    lost: set[str] = set()
    hits = studies = 0
    study = make_study(folder / "killed-0")
    while hits < count:
        if (study / "reports/toy/tables/decoders.md").exists():  # it came to its end: the next one
            lost |= _end(study, whole)
            studies += 1
            study = make_study(folder / f"killed-{studies}")
        hits += _kill(study, VICTIMS[hits % len(VICTIMS)], number, draw.uniform(0, latest))
    lost |= _end(study, whole)
    return Fault(
        f"{number.name} of stage, DVC or group, at random from 0 to {latest:.0f} s after the start",
        hits,
        f"{studies + 1} {'study' if studies == 0 else 'studies'} finished, with the bytes of an undisturbed one",
        "; ".join(sorted(lost)) or "nothing",
        "tests/faults/test_faults_in_small.py",
    )


def _kill(study: Path, victim: str, number: signal.Signals, after: float) -> bool:
    """Start a study, or the stage that comes next, and kill it. Returns whether it still ran."""
    stage = STAGE if (study / "data/squares.npz").exists() else PREPARE
    process = begin(study, stage if victim == "the stage" else DVC)
    with suppress(subprocess.TimeoutExpired):
        process.wait(after)
    ran = process.poll() is None
    if ran and victim == "the group":
        os.killpg(process.pid, number)
    elif ran:
        process.send_signal(number)
        if victim == "DVC" and number != signal.SIGKILL:  # DVC waits for its stage: then nobody is killed alone
            time.sleep(0.2)
            process.kill()
    process.wait(120)
    return ran


def _end(study: Path, whole: dict[str, bytes]) -> set[str]:
    """Run a study to its end, remove it, and return what is lost."""
    status, said = finish(study)
    lost = {f"dvc repro: status {status}: {said.strip().splitlines()[-1:]}"} if status else set()
    if differs := difference(study, whole):
        lost.add(f"differs: {differs}")
    with closing(sqlite3.connect(study / "mlflow.db")) as store:
        if running := store.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0]:
            lost.add(f"{running} runs RUNNING")
    if left := _processes(study):
        wait_until(lambda: not any(map(lives, left)), 60)
        lost.add(f"{len(left)} processes trained on")
    shutil.rmtree(study)
    return lost


def _processes(study: Path) -> list[int]:
    """Return the processes that work in a study."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if (folder / "cwd").readlink() == study and lives(int(folder.name)):
                    found.append(int(folder.name))
    return found
