"""What the trials of one search have in common, and how Optuna chooses and stops them."""

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from capsnet.networks.capsnet import NetworkConfig
from pipeline.runtime.prepared import Prepared
from pipeline.settings.params import Params
from pipeline.settings.runs import Run
from pipeline.settings.searching import Median, Tune

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class Search(NamedTuple):
    """What the trials of one search have in common."""

    name: str
    entry: Tune
    run: Run  # in the precision that the device computes in
    seed: int
    params: Params
    data: Prepared
    network: NetworkConfig
    worker: str  # who makes the trials: the workspace that writes the results, or one process that helps it
    tags: Mapping[str, object]


def sampler(search: Search, others: Sequence[FrozenTrial]) -> BaseSampler:
    """Return what chooses the values of the next trial.

    It is created again for each trial: one with a fixed seed would repeat its first draws after an interruption.

    Args:
        search: The search.
        others: All other trials that are made, are being made or will be repeated.
    """
    # One trial is the run as it is: the others have to beat it.
    own = {"alpha": search.run.alpha, "lr": search.run.lr}
    fixed = {} if any(trial.params == own for trial in others) else own
    # The constant liar takes running trials for bad ones, so that two processes do not try the same values.
    tpe = TPESampler(
        n_startup_trials=search.entry.sampler.startup_trials, seed=search.seed + len(others), constant_liar=True
    )
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
    """Return the trials that were completed or pruned, in the order of their numbers."""
    trials: list[FrozenTrial] = study.get_trials(states=FINISHED)
    return trials
