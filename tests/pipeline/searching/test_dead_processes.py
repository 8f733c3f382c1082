"""What happens to the trial of a process that is dead, or is taken for dead."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial
from searches import train_nothing
from sharing import GRACE_HERE, claimed, heartbeat_of, silence, states, two_workers, worker

from pipeline.searching.trial import run_trial, run_trials
from pipeline.tracking.recorder import NoRecorder


@pytest.mark.usefixtures("shared", "untrained")
def test_a_starting_process_ends_no_trial_of_a_living_one() -> None:
    with worker("one") as one:
        first = claimed(one)
        silence(one[2], first)
        with one[2].alive(first.trial):
            deadline = time.monotonic() + 10 * GRACE_HERE
            while heartbeat_of(one[2], first).startswith("2000"):
                assert time.monotonic() < deadline, "no sign of life"
                time.sleep(0.1)
            with worker("two") as two:
                assert claimed(two).trial.number == 1
                assert states(two[1]) == ["RUNNING", "RUNNING"]


@pytest.mark.usefixtures("shared", "untrained")
def test_the_trial_of_a_dead_process_is_made_again_with_the_same_values(capsys: pytest.CaptureFixture[str]) -> None:
    with two_workers(trials=4) as (one, two), worker("three", trials=4) as three, worker("four", trials=4) as four:
        assert claimed(one).trial.number == 0
        lost = claimed(two)
        assert claimed(three).trial.number == 2
        silence(two[2], lost)
        again = claimed(four)
        assert (lost.trial.number, again.trial.number) == (1, 3)
        assert again.trial.params == lost.trial.params
        assert states(four[1]) == ["RUNNING", "FAIL", "RUNNING", "RUNNING"]
        said = capsys.readouterr().err
        assert said.endswith("trial 1 is made again: its process has given no sign of life for 12 s\n")


@pytest.mark.usefixtures("shared")
def test_a_process_that_was_taken_for_dead_drops_its_result_in_a_line_and_takes_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with two_workers(trials=3) as (one, two):
        paused: list[int] = []

        def train(*arguments: Any, **options: Any) -> Any:
            if not paused:  # the first trial of this process: suspended in the middle of it
                paused.append(1)
                study = two[1]
                study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.FAIL)
                study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        params=study.trials[0].params,
                        distributions=study.trials[0].distributions,
                    )
                )
            return train_nothing(*arguments, **options)

        monkeypatch.setattr("pipeline.searching.trial.train", train)
        trials = run_trials(*one, NoRecorder())
    assert [trial.number for trial in trials] == [1, 2, 3]
    assert capsys.readouterr().err == (
        "toy: the result of trial 0 is dropped: this process had given no sign of life for 12 s, so the trial is made "
        "again; this process takes the next one\n"
    )


@pytest.mark.usefixtures("shared", "untrained")
def test_a_result_that_comes_after_the_trial_was_given_to_another_is_dropped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the last look at the trial and its end."""
    with two_workers() as (one, two):
        first = claimed(one)

        @contextmanager
        def record(*arguments: Any) -> Iterator[NoRecorder]:
            yield NoRecorder()
            study = two[1]
            study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.FAIL)

        monkeypatch.setattr("pipeline.searching.trial.record_trial", record)
        run_trial(*one, first, NoRecorder())
        assert states(one[1]) == ["FAIL"]
    assert "the result of trial 0 is dropped" in capsys.readouterr().err
