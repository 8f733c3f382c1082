"""`mlflow run` in a small study: what the run that MLflow opens says, and what is nested in it."""

import json
import os
import signal
import subprocess

import pytest
from errands import wait_until
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML
from small_study import PATH, SmallStudy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EXPERIMENT = "projects"
COMMAND = ("mlflow", "run", ".", "--env-manager", "local", "--experiment-name", EXPERIMENT)


@pytest.fixture(autouse=True)
def _quick_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves no connection open: another process writes to the store."""
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")


def mlflow_run(study: SmallStudy, *arguments: str) -> str:
    """Start an entry point of the project as the guide says, and return what is said."""
    return study.call(*COMMAND, *arguments, MLFLOW_DISABLE_TELEMETRY="true")


def client(study: SmallStudy) -> MlflowClient:
    return MlflowClient(f"sqlite:///{study.folder}/mlflow.db")


def all_runs(study: SmallStudy) -> list[Run]:
    """Return all runs of MLflow, the newest first."""
    asked = client(study)
    return [*asked.search_runs([each.experiment_id for each in asked.search_experiments()])]


def runs_of(study: SmallStudy, name: str) -> list[Run]:
    """Return the runs of MLflow with this name, the newest first."""
    return [run for run in all_runs(study) if run.info.run_name == name]


def note(run: Run) -> str:
    assert run.info.status == "FINISHED"
    return run.data.tags["mlflow.note.content"]


def forget_downloads(study: SmallStudy) -> None:
    """Remove the stage that downloads official files, which everything includes: this study has its own images."""
    yaml, path = YAML(), study.folder / "dvc.yaml"
    stages = yaml.load(path)
    del stages["stages"]["download"]
    with path.open("w") as file:
        yaml.dump(stages, file)


def test_mlflow_run_has_the_scores_of_what_it_made_and_the_second_says_up_to_date(study: SmallStudy) -> None:
    study.change("toy-fc", epochs=3)
    command = ("-e", "evaluate", "-P", "run=toy-fc")
    assert "Made toy-fc." in mlflow_run(study, *command)
    (opened,) = runs_of(study, "evaluate toy-fc")
    assert client(study).get_experiment(opened.info.experiment_id).name == EXPERIMENT
    trained = runs_of(study, "toy-fc")[0]
    assert trained.data.params["epochs"] == "3"
    assert trained.data.tags["mlflow.parentRunId"] == opened.info.run_id
    metrics = json.loads((study.folder / "reports/toy/metrics/toy-fc.json").read_text())
    for run in (opened, trained):
        assert run.data.metrics["test_accuracy"] == metrics["accuracy_mean"]
    assert note(opened).startswith("Made toy-fc.")
    assert trained.info.run_id in note(opened)  # the link

    assert "Nothing to do: up to date since 20" in mlflow_run(study, *command)
    again = runs_of(study, "evaluate toy-fc")[0]
    assert again.info.run_id != opened.info.run_id
    assert note(again).startswith("Nothing to do: up to date since 20")
    assert again.data.metrics["test_accuracy"] == metrics["accuracy_mean"]
    assert runs_of(study, "toy-fc")[0].data.tags["mlflow.parentRunId"] == opened.info.run_id


def test_every_entry_point_says_what_came_of_it(study: SmallStudy) -> None:
    for arguments, name, metric in (
        (["-e", "train", "-P", "run=toy-tuned"], "train toy-tuned", "train_loss"),
        (["-e", "tune", "-P", "search=toy"], "tune toy", "val_accuracy"),
        (["-e", "report", "-P", "study=toy"], "report toy", "test_accuracy/toy-tuned"),
    ):
        assert "Nothing to do: up to date since 20" in mlflow_run(study, *arguments)
        (opened,) = (run for run in runs_of(study, name) if "kind" not in run.data.tags)
        assert metric in opened.data.metrics
    forget_downloads(study)
    for name in ("figures", "tuning"):  # no stage of that study draws or tunes
        (study.folder / "reports/rest" / name).mkdir(parents=True)
    assert "Made rest-fc." in mlflow_run(study)  # everything, also the study that was not made
    (main,) = runs_of(study, "main")
    assert {*main.data.metrics} == {f"test_accuracy/{run}" for run in ("toy-fc", "toy-tuned", "rest-fc")}
    (rest,) = runs_of(study, "rest-fc")
    assert rest.data.tags["mlflow.parentRunId"] == main.info.run_id


def test_what_a_new_store_gets_from_files_was_not_made_by_mlflow_run(study: SmallStudy) -> None:
    study.forget_runs()
    said = mlflow_run(study, "-e", "evaluate", "-P", "run=toy-fc")
    assert "Nothing was trained: MLflow has toy-fc from files." in said
    (opened,) = runs_of(study, "evaluate toy-fc")
    assert "test_accuracy" in opened.data.metrics
    (recorded,) = runs_of(study, "toy-fc")
    assert "mlflow.parentRunId" not in recorded.data.tags


def test_what_was_killed_under_one_mlflow_run_is_nested_in_the_one_that_finished_it(study: SmallStudy) -> None:
    study.change("toy-fc", epochs=20)
    command = ("-e", "evaluate", "-P", "run=toy-fc")
    variables = {**os.environ, "PATH": PATH, "MLFLOW_DISABLE_TELEMETRY": "true"}
    started = subprocess.Popen(
        [*COMMAND, *command],
        cwd=study.folder,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(
            lambda: any(study.folder.glob(".scratch/train/toy-fc/*/seed-0.state*")) or started.poll() is not None
        )
    finally:
        os.killpg(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    (killed,) = (run for run in all_runs(study) if run.data.tags.get("mlflow.source.type") == "PROJECT")
    assert killed.info.status == "RUNNING"

    mlflow_run(study, *command)
    (finished,) = runs_of(study, "evaluate toy-fc")
    trained = runs_of(study, "toy-fc")[0]
    assert trained.data.tags["mlflow.parentRunId"] == finished.info.run_id != killed.info.run_id
    assert "test_accuracy" in finished.data.metrics
    left = {run.info.run_id: run.info.status for run in all_runs(study) if run.info.status != "FINISHED"}
    assert left == {killed.info.run_id: "KILLED"}
