"""Trainings at the same time: eight on a store that does not exist yet, four times the same one."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from tests.faults.faulty_study import PREPARE, RUN, begin, make_study
from tests.faults.result import Fault


def at_once(folder: Path, number: int) -> Fault:
    """Start trainings into folders of their own on a store that does not exist yet."""
    study = make_study(folder / "at-once")
    begin(study, PREPARE).wait(120)
    command = (sys.executable, "-m", "pipeline.train", RUN, "--set", "epochs=3", "--out")
    trainings = [begin(study, (*command, f"out-{place}")) for place in range(number)]
    failed = sum(training.wait(300) != 0 for training in trainings)
    models = {(study / f"out-{place}/seed-0.safetensors").read_bytes() for place in range(number)} if not failed else {}
    lost = [f"{failed} failed"] if failed else []
    lost += ["models differ"] if len(models) > 1 else []
    with closing(sqlite3.connect(study / "mlflow.db")) as store:
        finished = store.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0]
    lost += [f"{finished} runs FINISHED of {3 * number}"] if finished != 3 * number else []
    return Fault(
        f"{number} trainings at once on a store that does not exist yet",
        1,
        "all ended and are recorded",
        "; ".join(lost) or "nothing",
        "tests/faults/test_faults_in_small.py",
    )


def same_at_once(folder: Path, number: int) -> Fault:
    """Start the same training several times."""
    study = make_study(folder / "same")
    begin(study, PREPARE).wait(120)
    trainings = [begin(study, (sys.executable, "-m", "pipeline.train", RUN)) for _ in range(number)]
    statuses = sorted(training.wait(300) for training in trainings)
    lost = "nothing" if statuses[0] == 0 and set(statuses[1:]) <= {0, 2} else f"statuses {statuses}"
    refused = statuses.count(2)
    happened = f"{number - refused} trained, {refused} refused in one line"
    return Fault(f"the same training {number} times at once", 1, happened, lost, "tests/faults/test_faults_in_small.py")
