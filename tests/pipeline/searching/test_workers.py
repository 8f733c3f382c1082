"""Real processes that share a search on a real PostgreSQL server, one of them killed or suspended."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pandas as pd
import pytest
from tiny_project import ROOT, tiny_params, write_params

from pipeline.searching.claim import WORKER
from pipeline.searching.storage import GRACE, STORAGE, Storage, open_storage
from pipeline.settings.reading import read_yaml

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]
RESULTS = Path("reports/toy/tuning/toy")
TRIALS = 6
# `tune` with trials that train nothing, and have one epoch behind them until the file `go` exists.
GATED = """
import time
from pathlib import Path
from searches import train_nothing
import pipeline.searching.trial as trial
def train(*arguments, log, **options):
    def gated(epoch, values):
        while epoch > 1 and not Path("go").exists():
            time.sleep(0.1)
        time.sleep(0.1)
        log(epoch, values)
    return train_nothing(*arguments, log=gated, **options)
trial.train = train
from pipeline.runtime.command_line import run_stage
from pipeline.tune import main
run_stage(main)
"""


class Workers:
    """The processes of a search, and the study that they share."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])
        process = subprocess.Popen(
            [sys.executable, "-c", GATED, "toy", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Return the trials of the study; none if there is no study."""
        names = optuna.get_all_study_names(self.storage.optuna)
        return optuna.load_study(study_name=names[0], storage=self.storage.optuna).trials if names else []

    def running_by(self, process: "subprocess.Popen[str]") -> list[optuna.trial.FrozenTrial]:
        """Return the trials that a helping process makes now and has an epoch of."""
        part = f"-{process.pid}-"
        return [
            trial
            for trial in self.trials()
            if trial.state.name == "RUNNING" and part in trial.user_attrs.get(WORKER, "") and trial.intermediate_values
        ]


@pytest.fixture
def workers(database: str, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv(STORAGE, database)
    monkeypatch.setenv(GRACE, "8")
    params = tiny_params()
    params["tune"]["toy"] |= {"trials": TRIALS, "epochs": 4, "pruner": {"name": "none"}}
    write_params(prepared, params)
    with open_storage(Path("unused")) as storage:
        made = Workers(storage)
        yield made
    for process in made.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        if process.stdout is not None and not process.stdout.closed:
            print(*process.communicate())  # seen if the test fails


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out, err


def query(statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect("mlflow.db")) as store:
        return store.execute(statement).fetchall()


def test_a_killed_workers_trial_is_made_again_and_there_are_exactly_as_many_trials_as_asked_for(
    workers: Workers,
) -> None:
    leader = workers.start()
    wait_until(workers.trials)
    helper, killed = workers.start("--worker"), workers.start("--worker")
    wait_until(lambda: workers.running_by(killed) and workers.running_by(helper))
    killed.send_signal(signal.SIGKILL)
    Path("go").touch()
    ended(helper)
    out, err = ended(leader)
    trials = workers.trials()
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    (lost,) = (trial for trial in trials if trial.state.name != "COMPLETE")
    assert (len(done), lost.state.name) == (TRIALS, "FAIL")
    assert [trial.params for trial in done].count(lost.params) == 1
    assert len({tuple(trial.params.values()) for trial in done}) == TRIALS
    best = read_yaml(RESULTS / "best.yaml")
    assert (best["trials"], best["workers"], best["deterministic"]) == (TRIALS, 3, False)
    assert list(pd.read_csv(RESULTS / "trials.csv")["trial"]) == [trial.number for trial in done]
    assert "3 processes shared the trials, so a repetition gives other ones." in out
    assert "Traceback" not in err
    assert query("select name from runs where status != 'FINISHED'") == [(f"toy trial {lost.number}",)]
    assert query("select status from runs where status != 'FINISHED'") == [("KILLED",)]
    ((parent,),) = query("select run_uuid from runs where name = 'tune toy'")
    parents = query("select value, count(*) from tags where key = 'mlflow.parentRunId' group by value")
    assert parents == [(parent, TRIALS + 1)]


def test_a_suspended_worker_that_comes_back_drops_its_result_in_a_line_and_goes_on(workers: Workers) -> None:
    leader = workers.start()
    wait_until(workers.trials)
    helper = workers.start("--worker")
    wait_until(lambda: workers.running_by(helper))
    (suspended,) = workers.running_by(helper)
    helper.send_signal(signal.SIGSTOP)
    Path("go").touch()
    wait_until(lambda: workers.trials()[suspended.number].state.name == "FAIL")
    helper.send_signal(signal.SIGCONT)
    _, err = ended(helper)
    assert re.findall(r"^toy: the result of trial (\d+) is dropped: .* for 8 s, so .*$", err, re.MULTILINE) == [
        str(suspended.number)
    ]
    assert "Traceback" not in err
    ended(leader)
    states = [trial.state.name for trial in workers.trials()]
    assert (states.count("COMPLETE"), states.count("FAIL"), len(states)) == (TRIALS, 1, TRIALS + 1)


def test_helpers_finish_the_trials_of_a_search_whose_own_process_was_killed(workers: Workers) -> None:
    leader = workers.start()
    wait_until(workers.trials)
    helper = workers.start("--worker")
    wait_until(lambda: workers.running_by(helper))
    leader.send_signal(signal.SIGKILL)
    Path("go").touch()
    out, _ = ended(helper)
    assert not RESULTS.exists()
    assert re.search(rf"toy: this worker has made \d+ of {TRIALS} trials", out)
    before = [(trial.number, trial.state) for trial in workers.trials()]
    ended(workers.start())
    assert [(trial.number, trial.state) for trial in workers.trials()] == before
    assert len(pd.read_csv(RESULTS / "trials.csv")) == TRIALS
    late = workers.start("--worker")
    _, err = late.communicate(timeout=60)
    assert late.returncode == 2
    assert re.fullmatch(r"error: toy: got the finished study toy-\w+-1, expected one to help with\n", err)
