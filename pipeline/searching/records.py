"""The trials of a search in MLflow: nested in the run of the process that writes the results."""

import sys
from contextlib import AbstractContextManager

import optuna
from optuna.trial import FrozenTrial, Trial

from capsnet.training.training_config import TrainingConfig
from pipeline.searching.search import Search
from pipeline.tracking.delivery import KILLED
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import MlflowRecorder, Recorder
from pipeline.tracking.store import open_client, unusable

MLFLOW = "mlflow"  # the attribute of a study or a trial that names its run in MLflow


def name_record(named: optuna.Study | Trial, recorder: Recorder) -> None:
    """Note the MLflow run of a study or a trial in its attributes."""
    if isinstance(recorder, MlflowRecorder) and recorder.id:  # it has none if the store did not answer
        named.set_user_attr(MLFLOW, recorder.id)


def parent_of(study: optuna.Study) -> Recorder | None:
    """Return the MLflow run of the process that writes the results of a study; None if this store does not have it."""
    if MLFLOW not in study.user_attrs:
        return None
    run = study.user_attrs[MLFLOW]
    try:
        client = open_client()
        experiment = client.get_run(run).info.experiment_id
    except Exception as error:  # the store and the network may raise anything
        print(f"warning: {unusable(error)}; trials are recorded without their search", file=sys.stderr)
        return None
    return MlflowRecorder(client, run, experiment)


def end_record(trial: FrozenTrial) -> None:
    """Set the MLflow run of a trial to KILLED: its process is dead."""
    if MLFLOW in trial.user_attrs:
        try:
            open_client().set_terminated(trial.user_attrs[MLFLOW], KILLED)
        except Exception as error:  # the store and the network may raise anything
            print(f"warning: {unusable(error)}", file=sys.stderr)


def record_trial(
    search: Search, number: int, config: TrainingConfig, parent: Recorder | None
) -> AbstractContextManager[Recorder]:
    """Open the MLflow run of a trial."""
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
