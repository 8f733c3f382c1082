"""One trial of a search: choose values, train on part of the training images, and score on the others."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from capsnet.training.loop import train
from capsnet.training.training_config import TrainingConfig
from pipeline.searching.search import Search, fail_abandoned_trials, finished_trials, sampler
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import Recorder

RLOSS = "val_rloss"


def run_trials(search: Search, study: optuna.Study, parent: Recorder) -> list[FrozenTrial]:
    """Make trials until as many are finished as params.yaml asks for; return those in order."""
    fail_abandoned_trials(study)
    while (finished := len(finished_trials(study))) < search.entry.trials:
        study.sampler = sampler(search, finished)
        run_trial(search, study, finished, parent)
    return finished_trials(study)


def run_trial(search: Search, study: optuna.Study, number: int, parent: Recorder) -> None:
    """Make one trial, nested in the MLflow run of the search."""
    trial = study.ask()
    config = chosen_config(search, trial)
    with _record(search, number, config, parent) as recorder:
        accuracy = validation_accuracy(search, trial, config, recorder)
    # Only now: a process killed before this point makes the same trial again, and resumes its MLflow run.
    if accuracy is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, accuracy)


def chosen_config(search: Search, trial: Trial) -> TrainingConfig:
    """Return the training settings of a trial: those of the run, with the values that the sampler chose."""
    entry = search.entry
    alpha = trial.suggest_float("alpha", *entry.alpha, log=True)
    lr = trial.suggest_float("lr", *entry.lr, log=True)
    return replace(search.run.training(), alpha=alpha, lr=lr, epochs=entry.epochs, validation=entry.validation)


def validation_accuracy(search: Search, trial: Trial, config: TrainingConfig, recorder: Recorder) -> float | None:
    """Train, and return the accuracy on the held-out images after the last epoch; None if the trial was pruned."""

    def log(epoch: int, values: Mapping[str, float]) -> None:
        recorder.log(epoch, values)
        trial.report(values["val_accuracy"], epoch)
        if RLOSS in values:
            trial.set_user_attr(RLOSS, values[RLOSS])
        if epoch < config.epochs and trial.should_prune():
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


def _record(search: Search, number: int, config: TrainingConfig, parent: Recorder) -> AbstractContextManager[Recorder]:
    chosen = {key: getattr(config, key) for key in ("alpha", "lr", "epochs", "validation")}
    return record_run(
        search.params.tracking.experiment,
        f"{search.name} trial {number}",
        tags={**search.tags, "kind": "trial", "trial": number, "seed": search.seed},
        settings={"run": search.entry.run, **search.run.model_dump(), **chosen},
        parent=parent,
        data=search.data.source,
        resume=True,
    )
