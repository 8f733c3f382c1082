"""Processes that share a study: who makes which trial."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial
from searches import made_search
from sharing import claimed, states, two_workers, worker

from pipeline.searching.claim import WORKER, claim
from pipeline.searching.search import finished_trials, sampler
from pipeline.searching.storage import GRACE, STORAGE, open_storage
from pipeline.searching.study import open_study
from pipeline.searching.trial import run_trials
from pipeline.tracking.recorder import NoRecorder


@pytest.mark.usefixtures("shared", "untrained")
def test_no_more_trials_are_claimed_than_asked_for_and_each_by_one_process() -> None:
    with two_workers(trials=3) as (one, two):
        numbers = [claimed(each).trial.number for each in (one, two, two)]
        # The last is the one that was interrupted: a process makes one trial at a time.
        assert numbers == [0, 1, 1]
        assert claimed(one).trial.number == 0
        assert states(one[1]) == ["RUNNING", "RUNNING"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # these are threads, for which no filter holds
@pytest.mark.usefixtures("shared")
def test_processes_that_claim_at_once_get_a_trial_each_and_no_more_than_there_are() -> None:
    search = made_search(trials=4)
    with worker("first", trials=4):
        pass
    together = Barrier(8)

    def one_claim(number: int) -> int | None:
        with open_storage(Path("unused")) as storage:
            study = open_study(search, storage.optuna)
            together.wait()
            found = claim(search._replace(worker=f"worker-{number}"), study, storage)
            return None if found is None else found.trial.number

    with ThreadPoolExecutor(8) as pool:
        numbers = [*pool.map(one_claim, range(8))]
    assert sorted(number for number in numbers if number is not None) == [0, 1, 2, 3]


@pytest.mark.postgres
def test_processes_that_find_an_empty_database_create_its_tables_once(
    database: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE, database)
    together = Barrier(6)

    def open_it(_: int) -> int:
        together.wait()
        with open_storage(Path("unused")) as storage:
            return len(optuna.get_all_study_names(storage.optuna))

    with ThreadPoolExecutor(6) as pool:
        assert [*pool.map(open_it, range(6))] == [0] * 6


@pytest.mark.usefixtures("shared", "untrained")
def test_an_interrupted_process_of_the_workspace_continues_its_trial_at_once_and_no_other() -> None:
    with two_workers() as (one, two):
        first, second = claimed(one), claimed(two)
        first.trial.report(50.0, 1)
        with worker("one") as again:
            continued = claimed(again)
        assert (continued.trial.number, continued.trial.params, continued.reported) == (0, first.trial.params, 1)
        assert one[1].trials[second.trial.number].user_attrs[WORKER] == "two"


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
@pytest.mark.usefixtures("shared", "untrained")
def test_a_trial_that_was_interrupted_while_it_was_claimed_belongs_to_whoever_comes() -> None:
    with two_workers() as (one, two):
        one[1].sampler = sampler(one[0], [])
        one[1].ask()
        found = claimed(two)
        assert found.trial.number == 0
        assert found.trial.params == {"alpha": 0.0005, "lr": 0.01}
        assert states(one[1]) == ["RUNNING"]


def test_running_trials_count_as_bad_ones_so_that_nobody_tries_the_same(project: Path) -> None:
    search = made_search(trials=12)
    bounds = {name: FloatDistribution(*getattr(search.entry, name), log=True) for name in ("alpha", "lr")}

    def tried(running: dict[str, float] | None) -> dict[str, float]:
        study = optuna.create_study(direction="maximize")
        for number in range(1, 9):
            values = {"alpha": 0.0001 * 1.7**number, "lr": 0.001 * 1.7**number}
            study.add_trial(create_trial(value=-abs(number - 5.0), params=values, distributions=bounds))
        own = {"alpha": search.run.alpha, "lr": search.run.lr}
        study.add_trial(create_trial(value=-5.0, params=own, distributions=bounds))
        others = [*study.trials, study.trials[0]]  # as many in both cases: the seed follows from that
        if running:
            study.add_trial(create_trial(state=TrialState.RUNNING, params=running, distributions=bounds))
        study.sampler = sampler(search, others)
        trial = study.ask()
        return {name: trial.suggest_float(name, *getattr(search.entry, name), log=True) for name in bounds}

    first = tried(running=None)
    assert tried(running=None) == first
    assert tried(running=first) != first


@pytest.mark.usefixtures("shared", "untrained")
def test_processes_with_one_search_share_a_study_and_those_with_another_do_not() -> None:
    with two_workers() as (one, two), worker("three", epochs=4) as three:
        assert one[1].study_name == two[1].study_name != three[1].study_name


def test_two_searches_of_a_project_have_a_lock_each(project: Path) -> None:
    from pipeline.searching.whole_search import only_search

    toy, other = Path("reports/toy/tuning/toy"), Path("reports/toy/tuning/other")
    with only_search("toy", toy) as ours, only_search("other", other) as theirs:
        assert ours != theirs
        with pytest.raises(ValueError, match="tune toy is already running in another process"), only_search("toy", toy):
            pass


def test_two_searches_run_at_once_in_one_project(prepared: Path, untrained: None) -> None:
    from tiny_project import tiny_params, write_params

    from pipeline import tune
    from pipeline.searching.whole_search import only_search

    params = tiny_params()
    params["tune"]["other"] = params["tune"]["toy"]
    write_params(prepared, params)
    with only_search("other", Path("reports/toy/tuning/other")):
        tune.main(["toy"])
    assert Path("reports/toy/tuning/toy/best.yaml").is_file()


@pytest.mark.usefixtures("untrained")
def test_a_worker_without_a_database_is_refused(prepared: Path) -> None:
    from pipeline import tune

    with pytest.raises(ValueError, match=r"--worker: got no CAPSNET_OPTUNA_STORAGE, expected the URL of a PostgreSQL"):
        tune.main(["toy", "--worker"])


@pytest.mark.parametrize("said", ["0", "-1", "1.5", "soon", ""])
def test_a_grace_that_is_no_number_of_seconds_is_refused(
    said: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE, f"sqlite:///{project}/optuna.db")
    monkeypatch.setenv(GRACE, said)
    refused = pytest.raises(ValueError, match=f"CAPSNET_OPTUNA_GRACE: got '{said}', expected a whole number of seconds")
    with refused, open_storage(project / "journal.log"):
        pass


@pytest.mark.usefixtures("shared", "untrained")
def test_one_process_alone_in_a_database_makes_the_trials_of_a_journal(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker("one") as one:
        run_trials(*one, NoRecorder())
        made = [(trial.number, trial.params, trial.value) for trial in finished_trials(one[1])]
    monkeypatch.delenv(STORAGE)
    with worker("one") as alone:
        run_trials(*alone, NoRecorder())
        assert made == [(trial.number, trial.params, trial.value) for trial in finished_trials(alone[1])]
