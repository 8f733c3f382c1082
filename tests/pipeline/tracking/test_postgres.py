"""An MLflow server with PostgreSQL behind it, and two trainings that record in it at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import free_port, serving
from tiny_project import ROOT

from pipeline.tracking.store import STORE

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(900)]
RUNS = ("toy-fc", "toy-deconv")


def test_two_trainings_at_once_record_all_they_know_on_a_server_with_postgresql_behind_it(
    database: str, prepared: Path
) -> None:
    from mlflow import MlflowClient

    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", address.rpartition(":")[2], "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(prepared / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment = {**os.environ, **quiet, STORE: address, "PYTHONPATH": str(ROOT)}
    log = (prepared / "server.log").open("w")
    with log, serving(command, f"{address}/health", 240, env=environment, stdout=log, stderr=log):
        trainings = [
            subprocess.Popen([sys.executable, "-m", "pipeline.train", run], env=environment, stderr=subprocess.PIPE)
            for run in RUNS
        ]
        said = [training.communicate(timeout=400)[1].decode() for training in trainings]
        assert [training.returncode for training in trainings] == [0, 0], said
        assert not [line for each in said for line in each.splitlines() if "MLflow" in line]
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name("test")
        assert experiment is not None
        found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert set(found) == {*RUNS, *(f"{run} seed {seed}" for run in RUNS for seed in (0, 1))}
        assert {run.info.status for run in found.values()} == {"FINISHED"}
        for run in RUNS:
            seed = found[f"{run} seed 0"]
            assert seed.data.tags["mlflow.parentRunId"] == found[run].info.run_id
            assert [each.step for each in client.get_metric_history(seed.info.run_id, "train_loss")] == [1, 2]
            assert [each.path for each in client.list_artifacts(found[run].info.run_id)] == ["history.csv"]
    assert not (prepared / "mlflow.db").exists()
    assert [*(prepared / "artifacts").rglob("history.csv")]
