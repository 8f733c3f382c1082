"""MLflow gets what only files know: whichever way a result came, its run has the scores."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, NO_CHROMIUM, browser
from every_stage import run_stage
from made_study import write_search
from mlflow import MlflowClient
from mlflow.entities import Run
from servers import free_port, serving

from capsnet.files import md5
from pipeline.apps import record
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.run_search import PARENT
from pipeline.tracking.views import TAG, VIEWS, page, views

pytestmark = pytest.mark.slow  # each test makes a store

PATIENCE = 200  # seconds until MLflow's server answers


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{Path.cwd()}/mlflow.db")


def runs(query: str = "") -> dict[str, Run]:
    experiments = [each.experiment_id for each in client().search_experiments()]
    return {str(run.info.run_name): run for run in client().search_runs(experiments, query)}


@pytest.fixture
def trained(prepared: Path) -> Path:
    run_stage("train", ["toy-fc"])
    run_stage("evaluate", ["toy-fc"])
    return prepared


def without_scores(store: Path) -> None:
    """Forget the test scores: as if DVC had not run `evaluate`, whose results were there."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(store)) as connection, connection:
        for table in ("metrics", "latest_metrics"):
            connection.execute(f"delete from {table} where key like 'test_%'")


def test_a_training_whose_evaluation_was_skipped_gets_the_scores_of_its_file(trained: Path) -> None:
    before = runs()
    without_scores(trained / "mlflow.db")
    record.main(["toy"])
    after = runs()
    assert before.keys() == after.keys()
    for name in ("toy-fc", "toy-fc seed 0", "toy-fc seed 1"):
        assert after[name].data.metrics == before[name].data.metrics
        assert after[name].data.tags["scores"] == "reports/toy/metrics/toy-fc.json"
    assert after["toy-fc"].data.params["seeds"] == "0, 1"


def test_scores_of_other_models_are_not_taken(trained: Path) -> None:
    without_scores(trained / "mlflow.db")
    copied = trained / "reports/toy/metrics/toy-fc-history.csv"
    copied.write_text(copied.read_text().replace("0,1,", "0,1,9", 1))
    record.main(["toy"])
    assert "test_accuracy" not in runs()["toy-fc"].data.metrics


def test_models_and_searches_that_this_store_never_saw_get_runs_once(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = runs()
    (trained / "mlflow.db").unlink()
    shutil.rmtree(trained / "mlartifacts")
    write_search("toy", [(0.0005, 0.01, 90.0), (0.01, 0.1, None)])
    trials = trained / "reports/toy/tuning/toy/trials.csv"
    header, *rows = trials.read_text().splitlines()
    rows[1] += "99.5"  # reached before the trial was given up
    trials.write_text("\n".join([f"{header},epochs", *(f"{row},2" for row in rows)]) + "\n")
    for said in ("recorded 6 runs", "nothing was missing"):
        record.main([])
        assert f"MLflow: {said}" in capsys.readouterr().out
    found = runs()
    assert {*found} == {*known} | {"tune toy", "toy trial 0", "toy trial 1"}
    for name, run in known.items():
        same = {key for key in run.data.metrics if not key.startswith("peak") and key != "images_per_second"}
        assert {key: found[name].data.metrics[key] for key in same} == {key: run.data.metrics[key] for key in same}
        assert found[name].data.tags["origin"] == "files"
    assert found["toy-fc seed 1"].data.tags["model"] == md5(trained / "models/toy-fc/seed-1.safetensors")
    assert found["toy trial 0"].data.params["alpha"] == "0.0005"
    assert found["toy trial 0"].data.metrics["val_accuracy"] == 90.0
    assert found["tune toy"].data.metrics["val_accuracy"] == 90.0


def test_a_seed_without_a_run_gets_one_beside_those_of_the_other_seeds(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = runs()
    without_scores(trained / "mlflow.db")
    client().delete_run(before["toy-fc seed 1"].info.run_id)
    for said in ("recorded 1 run that only files knew, and scores of 2 others", "nothing was missing"):
        record.main(["toy"])
        assert f"MLflow: {said}\n" in capsys.readouterr().out
    after = runs()
    assert before.keys() == after.keys()
    assert after["toy-fc seed 1"].data.tags["origin"] == "files"
    assert after["toy-fc seed 1"].data.tags[PARENT] == before["toy-fc"].info.run_id
    assert after["toy-fc"].data.metrics == before["toy-fc"].data.metrics
    scores = {key: value for key, value in before["toy-fc seed 1"].data.metrics.items() if key.startswith("test_")}
    assert scores.items() <= after["toy-fc seed 1"].data.metrics.items()


def test_seeds_without_a_run_get_a_run_of_all_seeds_if_there_is_none(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "mlflow.db").unlink()
    tags = {"kind": "seed", "model": md5(trained / "models/toy-fc/seed-0.safetensors")}
    with record_run("test", "alone", tags=tags):
        pass
    for said in ("recorded 2 runs that only files knew, and scores of 1 other", "nothing was missing"):
        record.main(["toy"])
        assert f"MLflow: {said}\n" in capsys.readouterr().out
    found = runs()
    assert {*found} == {"alone", "toy-fc", "toy-fc seed 1"}
    assert found["toy-fc seed 1"].data.tags[PARENT] == found["toy-fc"].info.run_id
    assert found["toy-fc"].data.params["seeds"] == "0, 1"
    assert "test_accuracy" in found["alone"].data.metrics


def test_a_whole_run_has_the_mean_of_its_seeds_for_each_epoch(trained: Path) -> None:
    found = runs()
    losses = {
        name: [each.value for each in client().get_metric_history(found[name].info.run_id, "train_loss")]
        for name in ("toy-fc", "toy-fc seed 0", "toy-fc seed 1")
    }
    pairs = zip(losses["toy-fc seed 0"], losses["toy-fc seed 1"], strict=True)
    assert losses["toy-fc"] == pytest.approx([(first + second) / 2 for first, second in pairs])


def test_scores_reach_a_run_of_another_experiment(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_EXPERIMENT_NAME", "other")
        run_stage("train", ["toy-fc"])
    run_stage("evaluate", ["toy-fc"])
    assert client().get_experiment_by_name("other") is not None
    assert runs()["toy-fc"].data.tags["scores"] == "evaluate"
    assert {"mlflow.user", "mlflow.source.type"} <= runs()["toy-fc"].data.tags.keys()


def test_system_metrics_are_recorded_for_who_wants_them(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    run_stage("train", ["toy-fc"])
    assert any(name.startswith("system/") for name in runs()["toy-fc"].data.metrics)


def test_each_view_fits_into_a_tag_of_mlflow() -> None:
    assert {*views()} == {*VIEWS}
    assert max(len(json.dumps(state)) for state in views().values()) < 5000


@pytest.fixture
def pages(trained: Path) -> Iterator[str]:
    """The address of MLflow's pages of a trained run."""
    record.main([])
    port = free_port()
    command = ["mlflow", "ui", "--port", str(port), "--workers", "1"]
    chosen = {"MLFLOW_BACKEND_STORE_URI": "sqlite:///mlflow.db", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **chosen, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with serving(command, f"http://127.0.0.1:{port}/health", PATIENCE, cwd=trained, env=environment):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_the_printed_address_shows_runs_by_name_with_their_scores(pages: str) -> None:
    experiment = client().get_experiment_by_name("test")
    assert TAG + "runs" in experiment.tags
    with browser() as chromium:
        shown = chromium.open(f"{pages}/{page(experiment.experiment_id, 'runs')}", width=1500)
        for text in ("toy-fc", "test_accuracy", "test_rloss", "Model training"):
            shown.wait_for(f"document.body.innerText.includes({text!r})")
        charts = chromium.open(f"{pages}/{page(experiment.experiment_id, 'curves')}", width=1500)
        charts.wait_for("document.querySelectorAll('.js-plotly-plot').length > 0")
        models = chromium.open(f"{pages}/#/experiments/{experiment.experiment_id}/models", width=1500)
        models.wait_for("document.body.innerText.includes('toy-fc-seed-0')")
