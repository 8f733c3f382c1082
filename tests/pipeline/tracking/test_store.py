"""The MLflow store: in project folders with any name, moved, or named by a URL."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from requests.exceptions import InvalidURL as BadAddress
from tiny_project import ROOT

from pipeline.apps.record import pages_address
from pipeline.runtime.prepared import DataSource
from pipeline.runtime.workspace import SCRATCH
from pipeline.tracking.lookup import find_training
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.store import STORE, one_line_for_store_errors, open_client, store_uri

if TYPE_CHECKING:
    from mlflow.entities import Run

TAGS = {"stage": "train", "output": "models/x", "fingerprint": "f", "kind": "run"}
FOLDERS = ["C#", "a;b", "it's", "100%", "with spaces", "Übergrößen", "a&b=c", 'say "so"', "a@b:c"]
READ_INTO = ["50%20off", "what?"]
SECRETS = ("otto", "pa%40ss%2Fword", "pa@ss/word")


@pytest.fixture(scope="session")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with a store, an experiment and a run with an artifact in it: making one takes seconds."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in (STORE, "DVC_ROOT", "MLFLOW_RUN_ID"):
            patch.delenv(name, raising=False)
        record("first")
    return folder


@pytest.fixture
def there(made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store in use; the working directory."""
    folder = shutil.copytree(made_store, tmp_path / "project")
    monkeypatch.chdir(folder)
    open_client()
    return folder


def record(name: str, experiment: str = "test") -> Path:
    """Record a run with an artifact, and return the artifact's path."""
    Path("history.csv").write_text(name)
    with record_run(experiment, name, tags=TAGS) as run:
        run.log(1, {"loss": 1.0})
        run.attach(Path("history.csv"))
        assert not run.waits
    return artifact_of(run.client.get_run(run.id))


def artifact_of(run: "Run") -> Path:
    """Return where the artifact of a run lies."""
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(run.info.artifact_uri)) / "history.csv"


def query(statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect("mlflow.db")) as store:
        return store.execute(statement).fetchall()


def everything(folder: Path) -> Iterator[str]:
    """Each value in each table of the store, as text."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        for (table,) in store.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in store.execute(f'select * from "{table}"'):
                yield from map(str, row)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_project_may_be_called_anything(
    name: str, made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(made_store, tmp_path / name)
    monkeypatch.chdir(folder)
    artifact = record("second")
    assert artifact.is_relative_to(folder / "mlartifacts")
    assert artifact.read_text() == "second"
    assert query("select name from runs order by start_time") == [("first",), ("second",)]
    assert list(tmp_path.iterdir()) == [folder]


def record_in_a_process(folder: Path) -> None:
    """Record a run in a process of its own: MLflow keeps stores by their URI, which is relative for some folders."""
    code = """from pathlib import Path
from pipeline.tracking.mlflow_run import record_run
Path("history.csv").touch()
with record_run("test", "another", tags={"kind": "run"}) as run:
    run.attach(Path("history.csv"))"""
    subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        ((identity,),) = store.execute("select run_uuid from runs where name = 'another'").fetchall()
    assert (folder / "mlartifacts" / identity / "artifacts/history.csv").is_file()
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", READ_INTO)
def test_a_project_may_be_called_what_a_uri_would_read_otherwise(name: str, made_store: Path, tmp_path: Path) -> None:
    record_in_a_process(shutil.copytree(made_store, tmp_path / name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READ_INTO, "it's C#; 100% Maß"])
def test_a_new_store_is_made_in_a_project_called_anything(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    record_in_a_process(tmp_path / name)


def test_the_store_lies_in_the_real_repository_of_a_dvc_experiment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = project / "real"
    real.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(real))
    assert store_uri() == f"sqlite:///{real}/mlflow.db"
    monkeypatch.setenv(STORE, "http://127.0.0.1:1")
    assert store_uri() == "http://127.0.0.1:1"


def test_the_store_of_an_experiment_in_a_folder_of_its_own_is_the_projects(
    made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(made_store, tmp_path / "50%20off")
    here = folder / ".dvc/tmp/exps/tmp1"
    here.mkdir(parents=True)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.chdir(here)
    assert record("second").is_relative_to(folder / "mlartifacts")
    assert [path.name for path in here.iterdir()] == ["history.csv"]


def test_the_artifacts_of_a_project_that_was_moved_lie_beside_its_store(
    made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shutil.copytree(made_store, tmp_path / "before")
    monkeypatch.chdir(before)
    record("second")
    after = shutil.move(before, tmp_path / "after")
    monkeypatch.chdir(after)
    capsys.readouterr()
    record("third")
    said = f"MLflow: from now on artifacts lie beside {after}/mlflow.db, no longer in {before}\n"
    assert capsys.readouterr().err == said
    assert not before.exists()
    client = open_client()
    (experiment,) = (each for each in client.search_experiments() if each.name == "test")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    for name in ("first", "second", "third"):
        artifact = artifact_of(runs[name])
        assert artifact.is_relative_to(after)
        assert artifact.read_text() == name
    assert capsys.readouterr().err == ""


def test_an_artifact_that_was_left_where_it_was_is_still_found(
    made_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the store was moved."""
    shutil.copy(made_store / "mlflow.db", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert record("second").is_relative_to(tmp_path)
    ((uri,),) = query("select artifact_uri from runs where name = 'first'")
    assert uri.startswith((made_store / "mlartifacts").as_uri())


def test_an_experiment_that_another_process_creates_at_the_same_moment_is_shared(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = open_client()
    find = type(client).get_experiment_by_name
    asked: list[str] = []

    def find_none_at_first(self: object, name: str) -> object:
        asked.append(name)
        if len(asked) > 1:
            return find(client, name)
        open_client().create_experiment(name)
        return None

    monkeypatch.setattr(type(client), "get_experiment_by_name", find_none_at_first)
    with record_run("shared", "x", tags=TAGS):
        pass
    assert query("select e.name, r.name, r.status from runs r join experiments e using (experiment_id)") == [
        ("shared", "x", "FINISHED")
    ]
    assert "warning" not in capsys.readouterr().err


def test_artifacts_that_a_user_keeps_elsewhere_stay_there(there: Path, tmp_path: Path) -> None:
    open_client().create_experiment("own", (tmp_path / "on-a-big-disk").as_uri())
    assert record("second", "own").is_relative_to(tmp_path / "on-a-big-disk")


def test_the_artifacts_of_a_sqlite_store_elsewhere_lie_beside_it(
    made_store: Path, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    shutil.copy(made_store / "mlflow.db", tmp_path / "data/runs.db")
    monkeypatch.setenv(STORE, f"sqlite:///{tmp_path}/data/runs.db")
    assert record("second", "another").is_relative_to(tmp_path / "data/mlartifacts")


@pytest.mark.parametrize("stale", ["0123456789abcdef0123456789abcdef", "no such run", "deleted"])
def test_a_run_of_mlflow_that_is_not_in_this_store_is_passed_over_in_a_line(
    stale: str, there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ((first, experiment),) = query("select run_uuid, experiment_id from runs")
    if stale == "deleted":
        open_client().delete_run(first)
        stale = first
    monkeypatch.setenv("MLFLOW_RUN_ID", stale)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    capsys.readouterr()
    with record_run("test", "second", tags=TAGS) as run, record_run("test", "child", tags=TAGS, parent=run):
        pass
    said = capsys.readouterr().err
    assert said == f"MLflow: MLFLOW_RUN_ID: no run {stale} in sqlite:///{there}/mlflow.db; going on without it\n"
    assert query("select experiment_id from runs where name = 'second'") == [(experiment,)]
    assert query("select value from tags where key = 'mlflow.parentRunId'") == [(run.id,)]


def test_a_deleted_experiment_is_explained_with_both_ways_out(there: Path) -> None:
    client = open_client()
    client.delete_experiment(client.get_experiment_by_name("test").experiment_id)
    with pytest.raises(ValueError, match=r"MLflow: sqlite:.*experiment 'test' was deleted") as caught:
        record("second")
    assert "mlflow experiments restore --experiment-id 1" in str(caught.value)
    assert "another name: tracking.experiment in params.yaml" in str(caught.value)
    client.restore_experiment("1")
    record("second")


@pytest.mark.parametrize(
    "url",
    [
        "http://otto:pa%40ss%2Fword@127.0.0.1:1",
        "postgresql+nodriver://otto:pa%40ss%2Fword@127.0.0.1:1/mlflow",
        "ftp://otto:pa%40ss%2Fword@127.0.0.1",
    ],
)
def test_a_store_that_cannot_be_used_is_named_without_a_login(
    url: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STORE, url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    try:
        with record_run("test", "first", tags=TAGS) as run:
            run.log(1, {"loss": 1.0})
        refused = ""
    except ValueError as error:
        refused = str(error)
    assert bool(refused) == (not url.startswith("http"))  # the server may be back tomorrow; the others never will be
    (project / "seed-0.safetensors").write_bytes(b"")
    assert find_training(project / "seed-0.safetensors") is None
    said = "".join(capsys.readouterr())
    for line in [refused, said] if refused else [said]:
        assert re.search(r"MLflow: \w[\w+]*://\*\*\*@127\.0\.0\.1.* cannot be used: .+", line)
    said += refused + "".join(path.read_text() for path in Path(SCRATCH).rglob("*.jsonl"))
    assert "warning: MLflow: " in said
    assert not [secret for secret in SECRETS if secret in said], said


@pytest.mark.parametrize("raised", [OSError("no answer"), RuntimeError("no answer"), BadAddress("no answer")])
def test_an_error_of_the_store_is_one_line_that_names_it(raised: Exception, project: Path) -> None:
    said = r"^MLflow: sqlite:.*mlflow\.db cannot be used: no answer$"
    with pytest.raises(ValueError, match=said), one_line_for_store_errors():
        raise raised


@pytest.mark.parametrize(
    "raised",
    [ValueError("seed: got 1, expected 0"), KeyError("accuracy"), TypeError("None"), FileNotFoundError("data/x.json")],
)
def test_an_error_of_own_files_is_not_one_of_the_store(raised: Exception, project: Path) -> None:
    with pytest.raises(type(raised)) as caught, one_line_for_store_errors():
        raise raised
    assert caught.value is raised


def test_no_login_is_recorded(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://otto:pa%40ss%2Fword@localhost/optuna"
    monkeypatch.setenv("CAPSNET_OPTUNA_STORAGE", url)
    data = DataSource("digits", "d", "https://otto:pa%40ss%2Fword@example.org/digits.npz", "")
    monkeypatch.setattr("sys.argv", ["pipeline/train.py", "--note", url])
    with record_run("test", "second", tags={**TAGS, "from": url}, settings={"note": url}, data=data) as run:
        run.tag({"another": url})
    assert not [value for value in everything(there) if any(secret in value for secret in SECRETS)]
    assert query("select value from tags where key = 'another'") == [("postgresql://***@localhost/optuna",)]


def test_names_of_runs_stay_as_they_are_if_a_user_has_the_same_name(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPSNET_OPTUNA_STORAGE", "postgresql://mnist:secret@localhost/optuna")
    with record_run("test", "named", tags={**TAGS, "run": "mnist-fc"}, settings={"dataset": "mnist"}) as run:
        run.tag({"best": "mnist-fc"})
    assert query("select value from tags where key in ('run', 'best')") == [("mnist-fc",)] * 2
    assert query("select value from params where key = 'dataset'") == [("mnist",)]


def test_the_pages_of_a_server_are_printed_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORE, "https://otto:secret@example.org/mlflow")
    assert pages_address() == "https://example.org/mlflow"
    monkeypatch.delenv(STORE)
    assert pages_address() == "http://127.0.0.1:5000"


def test_make_ui_says_where_the_runs_are_without_a_login(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.built").touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.lock").touch()
    os.utime(tmp_path / "requirements.lock", (0, 0))
    variables = {**os.environ, STORE: "https://otto:secret@example.org/mlflow"}
    # Started by another make, as the tests are, it would name the folders that it enters.
    command = ["make", "--no-print-directory", "ui"]
    said = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    assert said.stdout == "the runs are on https://***@example.org/mlflow\n"
    assert not (tmp_path / SCRATCH).exists()
