"""Kills at random times of a stage, of DVC alone and of the whole group of processes, by KILL, TERM and INT."""

import os
import random
import shutil
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from errands import lives, wait_until

from tests.faults.faulty_study import DVC, STAGE, begin, difference, finish, made, make_study
from tests.faults.result import Fault

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
VICTIMS = ("the stage", "DVC", "the group")
LATEST = 9.0  # seconds after the start


def kills(folder: Path, count: int, seed: int) -> Fault:
    """Kill a small study `count` times, then run it once to its end; compare it with an undisturbed study."""
    draw = random.Random(seed)
    whole_study = make_study(folder / "whole")
    status, said = finish(whole_study)
    if status:
        raise RuntimeError(f"the undisturbed study failed: {said}")
    whole = made(whole_study)
    lost: set[str] = set()
    rounds = 0
    study = make_study(folder / "killed-0")
    for number in range(count):
        if (study / "reports/toy/tables/decoders.md").exists():  # it came to its end: the next one
            lost |= _end(study, whole)
            rounds += 1
            shutil.rmtree(study)
            study = make_study(folder / f"killed-{rounds}")
        _kill(study, VICTIMS[number % 3], SIGNALS[number // 3 % 3], draw.uniform(0, LATEST))
    lost |= _end(study, whole)
    shutil.rmtree(study)
    return Fault(
        "killed at a random time up to 9 s after the start: stage, DVC, group; by KILL, TERM, INT",
        count,
        f"{rounds + 1} studies ended, equal to an undisturbed one to the byte",
        "; ".join(sorted(lost)) or "nothing",
        "tests.faults.kills",
    )


def _kill(study: Path, victim: str, number: signal.Signals, after: float) -> None:
    prepared = (study / "data/squares.npz").exists()
    process = begin(study, STAGE if victim == "the stage" and prepared else DVC)
    with suppress(Exception):
        process.wait(after)
    if process.poll() is None:
        if victim == "the group":
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    if number != signal.SIGKILL and victim == "DVC":
        time.sleep(0.2)
        process.kill()
    process.wait(120)


def _end(study: Path, whole: dict[str, bytes]) -> set[str]:
    """Run to the end, and return what is lost."""
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
