"""Any Optuna storage gives the same search; a finished search in it is kept and not reused."""

import os
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from pipeline import tune

RESULTS = Path("reports/toy/tuning/toy")
POSTGRES = "CAPSNET_TEST_POSTGRES"


def results() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RESULTS.iterdir()}


def search_in(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tune.main(["toy"])
    from_journal = results()
    monkeypatch.setenv(tune.STORAGE, storage)
    before = set(optuna.get_all_study_names(storage))
    tune.main(["toy"])
    assert results() == from_journal
    tune.main(["toy"])
    assert results() == from_journal
    added = sorted(set(optuna.get_all_study_names(storage)) - before)
    assert [name.rpartition("-")[2] for name in added] == ["1", "2"]


@pytest.mark.slow
def test_a_sqlite_storage_gives_the_trials_of_the_journal(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_in(f"sqlite:///{prepared}/optuna.db", monkeypatch)


@pytest.mark.postgres
@pytest.mark.skipif(POSTGRES not in os.environ, reason=f"needs {POSTGRES}, the URL of an empty database")
def test_a_postgresql_storage_gives_the_trials_of_the_journal(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_in(os.environ[POSTGRES], monkeypatch)


def test_a_search_without_a_finished_trial_says_so_and_what_to_change(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: object, **options: object) -> None:
        raise FloatingPointError

    monkeypatch.setattr("capsnet.training.train", diverge)
    with pytest.raises(
        ValueError, match=r"trials: got 4 whose loss is not finite, expected one .* lower the bounds of lr"
    ):
        tune.main(["toy"])
    assert not RESULTS.exists()


def test_of_equal_accuracies_the_better_reconstruction_wins_and_pruned_trials_never_do() -> None:
    def trial(state: TrialState, value: float, rloss: float) -> optuna.trial.FrozenTrial:
        alpha = FloatDistribution(0.1, 1.0)
        return create_trial(
            state=state,
            value=value,
            params={"alpha": 0.5},
            distributions={"alpha": alpha},
            user_attrs={tune.RLOSS: rloss},
        )

    trials = [
        trial(TrialState.COMPLETE, 97.0, 5.0),
        trial(TrialState.COMPLETE, 98.0, 9.0),
        trial(TrialState.COMPLETE, 98.0, 7.0),
        trial(TrialState.PRUNED, 99.0, 1.0),
    ]
    assert tune.best_trial(trials)[0] == 2
