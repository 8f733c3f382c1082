"""One trial of a search: choose values, train on part of the training images, and score on the others."""

import sys
import time
from collections.abc import Mapping

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from capsnet.training.loop import train
from pipeline.searching.claim import Claim, claim
from pipeline.searching.records import name_record, record_trial
from pipeline.searching.search import Search, finished_trials
from pipeline.searching.storage import Storage
from pipeline.tracking.recorder import Recorder

RLOSS = "val_rloss"
TICK = 1.0  # seconds between two looks at what other processes do


def run_trials(search: Search, study: optuna.Study, storage: Storage, parent: Recorder | None) -> list[FrozenTrial]:
    """Make trials until the number in params.yaml is finished; return that many, in the order of their numbers.

    If other processes make the last ones, wait for them: one that dies leaves its trial to this process.
    """
    waited = False
    while len(finished_trials(study)) < search.entry.trials:
        claimed = claim(search, study, storage)
        if claimed is not None:
            run_trial(search, study, storage, claimed, parent)
        else:
            if not waited:
                print(f"{search.name}: waits for the last trials, which other processes make", file=sys.stderr)
            waited = True
            time.sleep(TICK)
    return finished_trials(study)[: search.entry.trials]


def run_trial(search: Search, study: optuna.Study, storage: Storage, claimed: Claim, parent: Recorder | None) -> None:
    """Make a trial that was claimed, as an MLflow run of its own.

    If others have taken this process for dead meanwhile, another one makes the trial again: the result is dropped.
    """
    trial = claimed.trial
    try:
        with storage.alive(trial), record_trial(search, trial.number, claimed.config, parent) as recorder:
            name_record(trial, recorder)
            accuracy = validation_accuracy(search, claimed, recorder)
            if storage.shared and study.get_trials(deepcopy=False)[trial.number].state == TrialState.FAIL:
                raise UpdateFinishedTrialError
        # Only now: a process killed before this point makes the same trial again, and resumes its MLflow run.
        state = TrialState.PRUNED if accuracy is None else TrialState.COMPLETE
        if study.tell(trial, accuracy, state, skip_if_finished=True).state == TrialState.FAIL:
            raise UpdateFinishedTrialError
    except UpdateFinishedTrialError:
        print(
            f"{search.name}: the result of trial {trial.number} is dropped: this process had given no sign of life for "
            f"{storage.grace} s, so the trial is made again; this process takes the next one",
            file=sys.stderr,
        )


def validation_accuracy(search: Search, claimed: Claim, recorder: Recorder) -> float | None:
    """Train, and return the accuracy on the held-out images after the last epoch; None if the trial was pruned."""
    trial, config, reported = claimed

    def log(epoch: int, values: Mapping[str, float]) -> None:
        recorder.log(epoch, values)
        if epoch > reported:
            trial.report(values["val_accuracy"], epoch)
        if RLOSS in values:
            trial.set_user_attr(RLOSS, values[RLOSS])
        # Before an interruption, the trial was not stopped at an epoch that another one followed.
        if reported <= epoch < config.epochs and trial.should_prune():
            raise optuna.TrialPruned

    data = search.data
    try:
        trained = train(search.network, config, data.images, data.labels, search.seed, groups=data.groups, log=log)
    except optuna.TrialPruned:
        recorder.tag({"pruned": "behind the median"})
        return None
    except FloatingPointError:  # a learning rate too high for this network is a result too
        recorder.tag({"pruned": "loss not finite"})
        return None
    return trained.history[-1]["val_accuracy"]
