"""The run that `mlflow run` opens says what came of it."""

import subprocess
import time
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from every_stage import run_stage
from tiny_project import tiny_params, write_params

from pipeline.apps import mend, project
from pipeline.settings.params import load_params
from pipeline.tracking.experiments import run_of_mlflow_run
from pipeline.tracking.store import open_client


def test_a_parameter_that_mlproject_does_not_have_is_refused_in_one_line(project_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^-P epochs: not a parameter of train; settings are in params.yaml"):
        project.main(["train", "toy-fc", "--epochs", "3"])


def test_an_unknown_name_is_refused_before_dvc_is_asked(project_folder: Path) -> None:
    with pytest.raises(ValueError, match="toy-fx"):
        project.main(["evaluate", "toy-fx"])


def test_main_makes_everything_and_takes_no_name(project_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^main: got the name 'toy-fc', expected none: it makes every study"):
        project.main(["main", "toy-fc"])


def test_the_entry_point_decides_whether_a_name_is_that_of_a_run_a_search_or_a_study(project_folder: Path) -> None:
    values = tiny_params()
    values["studies"] |= {name: values["studies"]["toy"] | {"title": name, "tables": []} for name in ("other", "both")}
    values["runs"]["both"] = values["runs"]["toy-fc"] | {"study": "other"}
    values["tune"]["both"] = values["tune"]["toy"]
    write_params(project_folder, values)
    params = load_params()
    for entry, name, studies in (
        ("main", None, ["both", "other", "toy"]),
        ("train", "both", ["other"]),
        ("evaluate", "both-tuned", ["toy"]),
        ("tune", "both", ["toy"]),
        ("report", "both", ["both"]),
    ):
        assert project.studies_of(entry, name, params) == studies


def test_targets_are_those_of_the_pipeline(project_folder: Path) -> None:
    params = load_params()
    for entry, name, targets in (
        ("main", None, []),
        ("train", "toy-fc", ["train@toy-fc"]),
        ("evaluate", "toy-tuned", ["evaluate-tuned@toy"]),
        ("tune", "toy", ["tune@toy"]),
        ("report", "toy", ["report@toy"]),
    ):
        assert project.target_of(entry, name, params) == targets


def test_torn_files_of_dvc_are_mended_and_a_second_start_is_refused_before_dvc_is_called(
    project_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def dvc(command: list[str]) -> CompletedProcess[str]:
        calls.append((command, capsys.readouterr().err))
        with pytest.raises(ValueError, match="another `mlflow run` is at work in this folder"):
            project.main(["train", "toy-fc"])
        return CompletedProcess(command, 3)

    monkeypatch.setattr(mend, "mend", lambda root: [f"{root.name}: mended"])
    monkeypatch.setattr(subprocess, "run", dvc)
    with pytest.raises(SystemExit) as ended:
        project.main(["train", "toy-fc"])
    assert calls == [(["dvc", "repro", "train@toy-fc"], f"mend: {Path.cwd().name}: mended\n")]
    assert ended.value.code == 3


def dvc_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `dvc repro` end at once with success."""
    run = subprocess.run

    def without_dvc(command: list[str], *more: Any, **named: Any) -> CompletedProcess[Any]:
        return CompletedProcess(command, 0) if command[0] == "dvc" else run(command, *more, **named)

    monkeypatch.setattr(subprocess, "run", without_dvc)


def test_a_store_that_cannot_be_used_is_a_warning_after_the_target_was_made(
    project_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://127.0.0.1:9")
    dvc_succeeds(monkeypatch)
    project.main(["train", "toy-fc"])
    said = capsys.readouterr().err
    assert said.startswith("warning: MLflow: ftp://127.0.0.1:9 cannot be used: ")
    assert said.count("\n") == 1


def test_a_damaged_file_of_the_project_is_not_called_an_error_of_the_store(
    project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise KeyError("accuracy")

    dvc_succeeds(monkeypatch)
    monkeypatch.setattr(project, "record", damaged)
    with pytest.raises(KeyError, match="accuracy"):
        project.main(["train", "toy-fc"])


@pytest.mark.parametrize("fresh", [True, False])
def test_the_result_is_under_the_run_that_finished_it_or_the_run_says_since_when(
    fresh: bool, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = int(time.time() * 1000)
    run_stage("train", ["toy-fc"])
    run_stage("evaluate", ["toy-fc"])
    client = open_client()
    experiment = client.get_experiment_by_name("test").experiment_id
    opened = client.create_run(experiment, run_name="efficient-horse-926")
    monkeypatch.setenv("MLFLOW_RUN_ID", opened.info.run_id)
    outer = run_of_mlflow_run(client)
    found = project.results("evaluate", "toy-fc", load_params(), client)
    began = before if fresh else int(time.time() * 1000) + 1000
    capsys.readouterr()  # what the stages printed
    project.describe(client, outer, "evaluate toy-fc", found, began)
    said = client.get_run(opened.info.run_id)
    assert said.info.run_name == "evaluate toy-fc"
    assert said.data.metrics["test_accuracy"] == found[0].data.metrics["test_accuracy"]
    assert said.data.tags["mlflow.note.content"].startswith(
        "Made toy-fc." if fresh else "Nothing to do: up to date since "
    )
    parent = client.get_run(found[0].info.run_id).data.tags.get("mlflow.parentRunId")
    assert parent == (opened.info.run_id if fresh else None)
    assert capsys.readouterr().out == said.data.tags["mlflow.note.content"].splitlines()[0] + "\n"


@pytest.fixture
def project_folder(project: Path) -> Path:  # the name `project` is that of the program here
    return project
