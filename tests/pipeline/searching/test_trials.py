"""A search makes the same trials whenever it was killed, and chooses them as params.yaml says."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from tiny_project import tiny_params, write_params

from pipeline.searching.search import Search, open_study
from pipeline.searching.storage import open_storage
from pipeline.searching.trial import run_trials
from pipeline.settings.params import load_params
from pipeline.tracking.recorder import NoRecorder


class Killed(BaseException):
    """The process has gone: nothing catches it."""


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that cost nothing: the accuracy is computed from alpha, lr and epoch."""

    def train(model: object, config: Any, *data: object, log: Callable[..., None], **options: object) -> Any:
        history = []
        for epoch in range(1, config.epochs + 1):
            off = abs(math.log(config.alpha / 0.002)) + abs(math.log(config.lr / 0.02))
            history.append({"val_accuracy": 100 - 10 * off / epoch, "val_rloss": 1000 * config.alpha})
            log(epoch, history[-1])
        return SimpleNamespace(history=history)

    monkeypatch.setattr("pipeline.searching.trial.train", train)


def made_search(**changes: Any) -> Search:
    params = tiny_params()
    params["tune"]["toy"] |= {"trials": 5, "epochs": 3, **changes}
    write_params(Path(), params)
    checked = load_params()
    data = SimpleNamespace(images=None, labels=None, groups=None, source=None)
    entry = checked.tune["toy"]
    none: Any = None
    return Search(
        "toy", entry, checked.runs[entry.run], 0, checked, cast("Any", data), none, "owner", {"fingerprint": "f"}
    )


def searched(search: Search, journal: Path) -> list[tuple[Any, ...]]:
    """Go on with the search in a journal, and return its finished trials."""
    with open_storage(journal) as storage:
        trials = run_trials(search, open_study(search, storage), NoRecorder())
    return [(each.state, each.params, each.value, each.intermediate_values, each.user_attrs) for each in trials]


@pytest.mark.parametrize("torn", [False, True])
def test_a_search_killed_at_any_moment_has_the_trials_of_an_unbroken_one(
    torn: bool, project: Path, untrained: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write to the journal: before it, or in the middle of it with the journal locked."""
    search = made_search()
    whole = searched(search, project / "whole.log")
    assert {state for state, *_ in whole} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert whole[0][1] == {"alpha": search.run.alpha, "lr": search.run.lr}
    append_logs = JournalFileBackend.append_logs
    writes = len((project / "whole.log").read_text().splitlines())
    assert writes > 20
    for last in range(1, writes):
        journal = project / f"{last}.log"
        written = 0

        def die(self: JournalFileBackend, logs: list[Any], journal: Path = journal, last: int = last) -> None:
            nonlocal written
            written += 1
            if written < last:
                append_logs(self, logs)
                return
            if torn:
                journal.with_name(journal.name + ".lock").symlink_to("gone")
                with journal.open("a") as file:
                    file.write('{"op_code":4,"worker')
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", die)
            with pytest.raises(Killed):
                searched(search, journal)
        assert searched(search, journal) == whole, last


def test_every_trial_but_the_first_is_chosen_anew_within_the_bounds(project: Path, untrained: None) -> None:
    search = made_search(trials=12)
    tried = [parameters for _, parameters, *_ in searched(search, project / "journal.log")]
    for key in ("alpha", "lr"):
        low, high = getattr(search.entry, key)
        assert all(low <= values[key] <= high for values in tried)
        assert len({values[key] for values in tried}) == 12


def test_tpe_learns_from_the_trials_after_its_startup(project: Path, untrained: None) -> None:
    """As many random trials are farther from the optimum of the made-up accuracies, alpha 0.002, lr 0.02."""

    def distance(startup: int) -> float:
        search = made_search(trials=16, sampler={"name": "tpe", "startup_trials": startup}, pruner={"name": "none"})
        tried = [parameters for _, parameters, *_ in searched(search, project / f"{startup}.log")]
        late = [abs(math.log(each["alpha"] / 0.002)) + abs(math.log(each["lr"] / 0.02)) for each in tried[8:]]
        return sum(late) / len(late)

    assert distance(4) < 0.7 * distance(15)


def test_a_search_without_a_pruner_brings_every_trial_to_its_end(project: Path, untrained: None) -> None:
    trials = searched(made_search(pruner={"name": "none"}), project / "journal.log")
    assert {state for state, *_ in trials} == {TrialState.COMPLETE}


def test_two_workspaces_with_one_storage_have_a_study_each(project: Path, untrained: None) -> None:
    search = made_search()
    storage = optuna.storages.InMemoryStorage()
    ours, again, theirs = (open_study(search._replace(owner=owner), storage) for owner in ("ours", "ours", "theirs"))
    assert ours.study_name == again.study_name != theirs.study_name


@pytest.mark.parametrize("key", ["alpha", "lr"])
@pytest.mark.parametrize("side", [0, 1])
def test_bounds_may_be_the_runs_own_values(key: str, side: int, project: Path, untrained: None) -> None:
    params = tiny_params()
    bounds = list(params["tune"]["toy"][key])
    bounds[side] = params["runs"]["toy-fc"][key]
    search = made_search(**{key: bounds})
    assert searched(search, project / "journal.log")[0][1][key] == bounds[side]
