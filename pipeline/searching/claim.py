"""Which trial a process makes next: an interrupted one of its own, one that a dead process left, or a new one."""

import sys
import warnings
from dataclasses import replace
from typing import NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from capsnet.training.training_config import TrainingConfig
from pipeline.searching.records import end_record
from pipeline.searching.search import Search, sampler
from pipeline.searching.storage import Storage

WORKER = "worker"  # the attribute of a trial that names who makes it


class Claim(NamedTuple):
    """A trial that this process makes."""

    trial: Trial
    config: TrainingConfig
    reported: int  # the epochs that were reported before an interruption


def claim(search: Search, study: optuna.Study, storage: Storage) -> Claim | None:
    """Return the trial that this process makes next; None if all trials are made or being made.

    An interrupted trial is continued under its own number: it trains from the beginning, with the same values. So a
    search of one process has the same trials, whenever it was killed.
    """
    with storage.exclusive(study.study_name), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Heartbeat of storage", UserWarning)  # `Storage.alive` does what it asks for
        left = _interrupted(search, study, storage)
        if left is None and storage.shared:
            end_stale_trials(study, storage)
        others = [trial for trial in _living(study) if left is None or trial.number != left.number]
        waiting = any(trial.state == TrialState.WAITING for trial in others)
        if left is None and not waiting and len(others) >= search.entry.trials:
            return None
        study.sampler = sampler(search, others)
        trial = study.ask() if left is None else Trial(study, left._trial_id)
        config = chosen_config(search, trial)
        storage.sign_of_life(trial)
        # Last, so that a trial without it was interrupted in this block, and belongs to nobody.
        trial.set_user_attr(WORKER, search.worker)
    return Claim(trial, config, max(left.intermediate_values, default=0) if left else 0)


def chosen_config(search: Search, trial: Trial) -> TrainingConfig:
    """Return the training settings of a trial: those of the run, with the values that the sampler chose."""
    entry = search.entry
    alpha, lr = (_suggested(trial, name, bounds) for name, bounds in (("alpha", entry.alpha), ("lr", entry.lr)))
    return replace(search.run.training(), alpha=alpha, lr=lr, epochs=entry.epochs, validation=entry.validation)


def _suggested(trial: Trial, name: str, bounds: tuple[float, float]) -> float:
    """Return the value of a trial. One that was chosen before an interruption stays as it is.

    If the sampler draws the values one by one, that value is drawn again all the same, and not used: without this draw,
    the next value would be another one.
    """
    chosen = trial.distributions.get(name)
    if chosen is not None and name not in trial.relative_params:
        frozen = trial.study.get_trials(deepcopy=False)[trial.number]
        trial.study.sampler.sample_independent(trial.study, frozen, name, chosen)
    value: float = trial.suggest_float(name, *bounds, log=True)
    return value


def end_stale_trials(study: optuna.Study, storage: Storage) -> None:
    """Set to FAIL the trials of processes that have given no sign of life, and have them made again."""
    running = {trial.number: trial for trial in study.get_trials(states=(TrialState.RUNNING,))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
    for trial in study.get_trials(states=(TrialState.FAIL,)):
        if trial.number in running:
            print(
                f"{study.study_name}: trial {trial.number} is made again: its process has given no sign of life for "
                f"{storage.grace} s",
                file=sys.stderr,
            )
            end_record(trial)


def _interrupted(search: Search, study: optuna.Study, storage: Storage) -> FrozenTrial | None:
    """Return a running trial that this process may continue at once.

    Nobody else does: it was interrupted while it was claimed, or it is of an earlier process of this workspace, which
    is dead because this one holds the workspace's lock. A journal has one process.
    """
    running = study.get_trials(states=(TrialState.RUNNING,))
    owners = (None, search.worker)
    return next((each for each in running if not storage.shared or each.user_attrs.get(WORKER) in owners), None)


def _living(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that are made, are being made or will be repeated."""
    return [trial for trial in study.get_trials() if trial.state != TrialState.FAIL]
