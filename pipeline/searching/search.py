"""One search: which trials it makes, and when it has made them all.

What a trial tries follows from the finished trials alone. So an interrupted search makes the same trials as an
uninterrupted one, whenever it was killed.
"""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from capsnet.networks.capsnet import NetworkConfig
from pipeline.runtime.prepared import Prepared
from pipeline.settings.params import Params
from pipeline.settings.runs import Run
from pipeline.settings.searching import Median, Tune

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
WRITTEN = "finished"  # attribute of a study whose results are written


class Search(NamedTuple):
    """What the trials of one search have in common."""

    name: str
    entry: Tune
    run: Run
    seed: int
    params: Params
    data: Prepared
    network: NetworkConfig
    owner: str
    tags: Mapping[str, object]


def open_study(search: Search, storage: BaseStorage) -> optuna.Study:
    """Return Optuna's study of the search, to be begun or continued.

    A study whose results are written stays as it is; the next one gets the next number.
    """
    number = 1
    while True:
        study = optuna.create_study(
            storage=storage,
            study_name=f"{search.name}-{search.owner}-{search.tags['fingerprint']}-{number}",
            direction="maximize",
            pruner=pruner(search),
            load_if_exists=True,
        )
        if WRITTEN not in study.user_attrs:
            return study
        number += 1


def sampler(search: Search, finished: int) -> BaseSampler:
    """Return what chooses the values of the next trial.

    It is created again for each trial: one with a fixed seed would repeat its first draws after an interruption.
    """
    # The first trial is the run as it is: the others have to beat it.
    fixed = {"alpha": search.run.alpha, "lr": search.run.lr} if finished == 0 else {}
    tpe = TPESampler(n_startup_trials=search.entry.sampler.startup_trials, seed=search.seed + finished)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(fixed, tpe)


def pruner(search: Search) -> BasePruner:
    """Return what ends a trial early."""
    entry = search.entry.pruner
    if isinstance(entry, Median):
        return MedianPruner(n_startup_trials=entry.startup_trials, n_warmup_steps=entry.warmup_epochs)
    return NopPruner()


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were completed or pruned, in order."""
    trials: list[FrozenTrial] = study.get_trials(states=FINISHED)
    return trials


def fail_abandoned_trials(study: optuna.Study) -> None:
    """Set to FAIL the trials that a killed process left running; they are made again."""
    for left in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
