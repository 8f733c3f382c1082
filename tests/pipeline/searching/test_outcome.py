"""The best trial of a search, and what is said about how it was decided."""

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.reporting.search_method import decided
from pipeline.searching.outcome import best_values
from pipeline.searching.trial import RLOSS


def trial(state: TrialState, value: float, rloss: float) -> FrozenTrial:
    distributions = {key: FloatDistribution(0.1, 1.0) for key in ("alpha", "lr")}
    return create_trial(
        state=state,
        value=value,
        params={"alpha": 0.5, "lr": 0.5},
        distributions=distributions,
        user_attrs={RLOSS: rloss},
    )


def test_of_equal_accuracies_the_better_reconstruction_wins_and_pruned_trials_never_do() -> None:
    trials = [
        trial(TrialState.COMPLETE, 97.0, 5.0),
        trial(TrialState.COMPLETE, 98.0, 9.0),
        trial(TrialState.COMPLETE, 98.0, 7.0),
        trial(TrialState.PRUNED, 98.0, 1.0),
    ]
    best = best_values(trials)
    assert (best["trial"], best["tied"], best["decided_by"]) == (2, [1, 2], "val_rloss")
    said = "Trials 1 and 2 tie at 98.00 % of the held-out images; the lowest RLoss on them decided for trial 2."
    assert decided(best) == said


def test_where_nothing_else_decides_the_first_of_equal_trials_wins_and_it_is_said() -> None:
    best = best_values([trial(TrialState.COMPLETE, 98.0, 7.0)] * 3)
    assert (best["trial"], best["tied"], best["decided_by"]) == (0, [0, 1, 2], "trial")
    said = "Trials 0, 1 and 2 tie at 98.00 % of the held-out images; that it came first decided for trial 0."
    assert decided(best) == said


def test_where_one_trial_is_the_best_nothing_is_said_of_ties() -> None:
    best = best_values([trial(TrialState.COMPLETE, value, 7.0) for value in (97.0, 98.0)])
    assert (best["tied"], best["decided_by"], decided(best)) == ([1], "val_accuracy", "")
