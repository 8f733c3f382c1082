"""A search makes the same trials whenever it was killed, and chooses them as params.yaml says."""

import math
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from searches import made_search, searched
from tiny_project import tiny_params


class Killed(BaseException):
    """The process has gone: nothing catches it."""


@pytest.mark.parametrize("torn", [False, True])
def test_a_search_killed_at_any_moment_has_the_trials_of_an_unbroken_one(
    torn: bool, project: Path, untrained: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write to the journal: before it, or in the middle of it with the journal locked."""
    # A trial is stopped after its second epoch, and not before: a continued one has to wait for that, too.
    search = made_search(pruner={"name": "median", "startup_trials": 2, "warmup_epochs": 2})
    whole = searched(search, project / "whole.log")
    assert {state for _, state, *_ in whole} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert whole[0][2] == {"alpha": search.run.alpha, "lr": search.run.lr}
    assert [number for number, *_ in whole] == [0, 1, 2, 3, 4]
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
    tried = [parameters for _, _, parameters, *_ in searched(search, project / "journal.log")]
    for key in ("alpha", "lr"):
        low, high = getattr(search.entry, key)
        assert all(low <= values[key] <= high for values in tried)
        assert len({values[key] for values in tried}) == 12


def test_tpe_learns_from_the_trials_after_its_startup(project: Path, untrained: None) -> None:
    """As many random trials are farther from the optimum of the made-up accuracies, alpha 0.002, lr 0.02."""

    def distance(startup: int) -> float:
        search = made_search(trials=16, sampler={"name": "tpe", "startup_trials": startup}, pruner={"name": "none"})
        tried = [parameters for _, _, parameters, *_ in searched(search, project / f"{startup}.log")]
        late = [abs(math.log(each["alpha"] / 0.002)) + abs(math.log(each["lr"] / 0.02)) for each in tried[8:]]
        return sum(late) / len(late)

    assert distance(4) < 0.7 * distance(15)


def test_a_search_without_a_pruner_brings_every_trial_to_its_end(project: Path, untrained: None) -> None:
    trials = searched(made_search(pruner={"name": "none"}), project / "journal.log")
    assert {state for _, state, *_ in trials} == {TrialState.COMPLETE}


@pytest.mark.parametrize("key", ["alpha", "lr"])
@pytest.mark.parametrize("side", [0, 1])
def test_bounds_may_be_the_runs_own_values(key: str, side: int, project: Path, untrained: None) -> None:
    params = tiny_params()
    bounds = list(params["tune"]["toy"][key])
    bounds[side] = params["runs"]["toy-fc"][key]
    search = made_search(**{key: bounds})
    assert searched(search, project / "journal.log")[0][2][key] == bounds[side]
