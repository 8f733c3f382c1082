"""The best trial of a search, and what is said about how it was decided."""

from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.reporting.search_method import choice, decided, shared
from pipeline.searching.claim import WORKER
from pipeline.searching.outcome import TIE_BREAK, best_values, yaml_text
from pipeline.searching.trial import RLOSS


def trial(state: TrialState, value: float, rloss: float, worker: str = "workspace") -> FrozenTrial:
    distributions = {key: FloatDistribution(0.1, 1.0) for key in ("alpha", "lr")}
    return create_trial(
        state=state,
        value=value,
        params={"alpha": 0.5, "lr": 0.5},
        distributions=distributions,
        user_attrs={RLOSS: rloss, WORKER: worker},
    )


def best_of(*trials: FrozenTrial) -> dict[str, Any]:
    """Return what best.yaml says of a study of these trials; failed ones are not among its results."""
    study = optuna.create_study(study_name="toy-0-1", direction="maximize")
    study.add_trials(trials)
    return best_values(study, [each for each in study.trials if each.state != TrialState.FAIL])


def test_of_equal_accuracies_the_better_reconstruction_wins_and_pruned_trials_never_do() -> None:
    trials = [
        trial(TrialState.COMPLETE, 97.0, 5.0),
        trial(TrialState.COMPLETE, 98.0, 9.0),
        trial(TrialState.COMPLETE, 98.0, 7.0),
        trial(TrialState.PRUNED, 98.0, 1.0),
    ]
    best = best_of(*trials)
    assert (best["trial"], best["tied"], best["decided_by"]) == (2, [1, 2], "val_rloss")
    said = "Trials 1 and 2 tie at 98.00 % of the held-out images; trial 2 was chosen because its RLoss is the lowest."
    assert decided(best) == said


def test_where_nothing_else_decides_the_first_of_equal_trials_wins_and_it_is_said() -> None:
    best = best_of(*[trial(TrialState.COMPLETE, 98.0, 7.0)] * 3)
    assert (best["trial"], best["tied"], best["decided_by"]) == (0, [0, 1, 2], "trial")
    said = "Trials 0, 1 and 2 tie at 98.00 % of the held-out images; trial 0 was chosen because it came first."
    assert decided(best) == said


def test_where_one_trial_is_the_best_nothing_is_said_of_ties() -> None:
    best = best_of(*(trial(TrialState.COMPLETE, value, 7.0) for value in (97.0, 98.0)))
    assert (best["tied"], best["decided_by"], decided(best)) == ([1], "val_accuracy", "")


def test_best_yaml_names_the_study_and_says_how_ties_are_broken() -> None:
    best = best_of(trial(TrialState.COMPLETE, 98.0, 7.0), trial(TrialState.COMPLETE, 98.0, 6.0))
    first, second, *values = yaml_text(best, choice(best)).splitlines()
    assert first == f"# {TIE_BREAK}"
    assert second == f"# {decided(best)}"
    assert {"study: 'toy-0-1'", "workers: 1", "deterministic: true", "trial: 1", "tied: [0, 1]"} <= set(values)
    assert shared(best) == ""


def test_a_search_that_several_processes_shared_is_not_called_deterministic() -> None:
    best = best_of(trial(TrialState.COMPLETE, 98.0, 7.0), trial(TrialState.COMPLETE, 97.0, 7.0, "helper"))
    assert {"workers: 2", "deterministic: false"} <= set(yaml_text(best, choice(best)).splitlines())
    assert shared(best) == "2 processes shared the trials, so a repetition gives other ones."


def test_trials_have_the_numbers_that_optuna_gave_them() -> None:
    failed = create_trial(state=TrialState.FAIL, user_attrs={WORKER: "helper"})
    best = best_of(failed, trial(TrialState.COMPLETE, 97.0, 7.0), failed, trial(TrialState.COMPLETE, 97.0, 7.0))
    assert (best["trial"], best["tied"], best["trials"]) == (1, [1, 3], 2)
