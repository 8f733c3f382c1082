"""Run a target of the pipeline for `mlflow run`, and describe the result in the run that MLflow opened.

    mlflow run . --env-manager local --experiment-name capsnet -e train -P run=digits-fc
    python -m pipeline.apps.project train digits-fc          (what that starts; ENTRY alone: main)

The runs with the result are nested in the run of MLflow that finished it, which also gets their last metrics. If the
target was up to date, the run says since when. If MLflow has the result from files, the run says so.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.apps.mend import mend_and_say
from pipeline.apps.record import record
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.locks import try_lock
from pipeline.runtime.paths import MODELS, TUNED, models_in
from pipeline.runtime.workspace import SCRATCH, root
from pipeline.settings.checked import require
from pipeline.settings.params import Params, load_params
from pipeline.tracking.delivery import KILLED, milliseconds
from pipeline.tracking.experiments import run_of_mlflow_run
from pipeline.tracking.lookup import training_of
from pipeline.tracking.mlflow_run import ORIGIN
from pipeline.tracking.run_search import PARENT, find_everywhere
from pipeline.tracking.store import one_line_for_store_errors, open_client, store_file
from pipeline.tracking.views import NOTE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ENTRIES = ("main", "train", "evaluate", "tune", "report")
LOCK = "project.lock"


def target_of(entry: str, name: str | None, params: Params) -> list[str]:
    """Return the targets for `dvc repro`. Raises ValueError for an unknown name, and for any name with `main`."""
    if entry == "main":
        if name is not None:
            raise ValueError(f"main: got the name {name!r}, expected none: it makes every study")
        return []
    names = {"tune": [*params.tune], "report": [*params.studies]}.get(entry, [*params.studies_of_runs])
    kind = {"tune": "search", "report": "study"}.get(entry, "run")
    require(name or "", names, kind)
    assert name is not None
    tuned = entry in ("train", "evaluate") and name not in params.runs
    return [f"{entry}-tuned@{name.removesuffix(TUNED)}" if tuned else f"{entry}@{name}"]


def studies_of(entry: str, name: str | None, params: Params) -> list[str]:
    """Return the studies that a target belongs to: all of them for `main`. The target is known to exist.

    A study or a search may have the name of a run, so the entry point decides what a name means.
    """
    if entry == "main":
        return [*params.studies]
    if entry == "report":
        return [str(name)]
    return [params.tune[str(name)].study if entry == "tune" else params.studies_of_runs[str(name)]]


def results(entry: str, name: str | None, params: Params, client: "MlflowClient") -> "list[Run]":
    """Return the runs of MLflow with the results of a target: of a run, of a search, or of a whole study."""
    studies = studies_of(entry, name, params)
    runs = [run for run, study in params.studies_of_runs.items() if study in studies]
    searches = [search for search, of in params.tune.items() if of.study in studies]
    if entry in ("train", "evaluate"):
        runs, searches = [str(name)], []
    elif entry == "tune":
        runs, searches = [], [str(name)]
    found = []
    for run in runs:
        models = models_in(MODELS / run)
        training = training_of(client, next(iter(models.values()))) if models else None
        if training is not None:
            found.append(client.get_run((training.parent or training.seed).id))
    for search in searches:
        found += find_everywhere(client, {"kind": "run", "stage": "tune", "run": search})[:1]
    return found


def describe(client: "MlflowClient", project: "Run", words: str, found: "Sequence[Run]", began: int) -> None:
    """Describe the result of a target in the run that MLflow opened.

    Args:
        client: A client of the store.
        project: The run that MLflow opened.
        words: The target, in words: its new name.
        found: The runs with the results.
        began: When it began, in milliseconds: results that ended later belong to it.
    """
    from mlflow.entities import Metric

    identity = project.info.run_id
    trained = [run for run in found if ORIGIN not in run.data.tags]  # the others are from files, recorded just now
    fresh = [run for run in trained if (run.info.end_time or 0) >= began]
    for run in fresh:
        client.set_tag(run.info.run_id, PARENT, identity)
    if fresh:
        note = f"Made {', '.join(str(run.info.run_name) for run in fresh)}."
    elif trained:
        last = max(run.info.end_time or run.info.start_time for run in trained)
        note = f"Nothing to do: up to date since {datetime.fromtimestamp(last / 1000):%Y-%m-%d %H:%M}."
    elif found:
        note = f"Nothing was trained: MLflow has {', '.join(str(run.info.run_name) for run in found)} from files."
    else:
        note = "Done; MLflow has no run with the result."
    links = [f"- [{run.info.run_name}](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})" for run in found]
    client.update_run(identity, name=words)
    client.set_tag(identity, NOTE, "\n".join([note, "", *links]))
    if len(found) == 1:
        metrics = found[0].data.metrics.items()
        client.log_batch(identity, [Metric(key, value, began, 0) for key, value in metrics])
    else:
        scores = {str(run.info.run_name): run.data.metrics.get("test_accuracy") for run in found}
        metrics_of_runs = [(f"test_accuracy/{run}", value) for run, value in scores.items() if value is not None]
        client.log_batch(identity, [Metric(key, value, began, 0) for key, value in metrics_of_runs])
    print(note)


def end_killed_projects(client: "MlflowClient", project: "Run") -> None:
    """Set earlier runs of `mlflow run` in this folder to KILLED if they are still open: they were killed.

    The lock of this folder says that none of them is at work. A server has runs of other machines, too, whose locks are
    elsewhere: there nothing is changed.
    """
    if store_file() is None:
        return
    source = {key: project.data.tags.get(key, "") for key in ("mlflow.source.type", "mlflow.source.name")}
    for run in find_everywhere(client, source, status="RUNNING"):
        if run.info.start_time < project.info.start_time:
            client.set_terminated(run.info.run_id, KILLED)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument(
        "entry", metavar="ENTRY", choices=ENTRIES, help=f"an entry point of MLproject: {', '.join(ENTRIES)}"
    )
    made.add_argument("name", metavar="NAME", nargs="?", help="a run, search or study; not for main")
    arguments, unknown = made.parse_known_args(argv)
    if unknown:  # MLflow passes a parameter that MLproject does not have as an option
        raise ValueError(
            f"-P {unknown[0].lstrip('-')}: not a parameter of {arguments.entry}; settings are in params.yaml, and "
            "`dvc exp run --temp -S runs.RUN.SETTING=VALUE` tries others"
        )
    params = load_params()
    targets = target_of(arguments.entry, arguments.name, params)
    held = try_lock(root() / SCRATCH / LOCK)
    if held is None:
        raise ValueError("another `mlflow run` is at work in this folder; start this one when that has ended")
    with held:
        _run(arguments.entry, arguments.name, targets, params)


def _run(entry: str, name: str | None, targets: Sequence[str], params: Params) -> None:
    began = milliseconds()
    mend_and_say(root())
    command = ["dvc", "repro", *targets]
    if status := subprocess.run(command).returncode:
        print(f"error: `{' '.join(command)}` ended with status {status}; its messages stand above", file=sys.stderr)
        sys.exit(status)
    try:
        with one_line_for_store_errors():
            client = open_client()
            project = run_of_mlflow_run(client)
            os.environ.pop("MLFLOW_RUN_ID", None)  # what comes from files is not nested in this run
            record(studies_of(entry, name, params), params, client)
            if project is not None:
                end_killed_projects(client, project)
                words = f"{entry} {name}" if name else entry
                describe(client, project, words, results(entry, name, params, client), began)
    except ValueError as error:  # the results are in files
        print(f"warning: {error}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
