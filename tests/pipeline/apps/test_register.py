"""A trained network becomes the best one of its data set in MLflow's registry, and answers by that name."""

import json
import os
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from saved_network import IMAGES, lengths
from servers import free_port, serving
from tiny_project import TINY

from capsnet.files import md5
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline.apps.register import main
from pipeline.runtime.command_line import run_stage
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import MlflowRecorder

PATIENCE = 200  # seconds until the server answers
NAME = "capsnet-squares"


@pytest.fixture
def models(project: Path, tiny_model: ModelConfig) -> dict[int, Path]:
    """Two networks of a run, as files that MLflow did not see being trained."""
    paths = {seed: Path(f"models/toy-fc/seed-{seed}.safetensors") for seed in (3, 10)}
    Path("models/toy-fc").mkdir(parents=True)
    for seed, path in paths.items():
        torch.manual_seed(seed)
        save_model(path, CapsNet(tiny_model), {"settings": TINY})
    return paths


def store() -> str:
    return f"sqlite:///{Path.cwd()}/mlflow.db"  # absolute: MLflow keeps the connections of each address


def best() -> tuple[str, dict[str, str]]:
    """Return version and tags of what the alias points to."""
    from mlflow import MlflowClient

    version = MlflowClient(store()).get_model_version_by_alias(NAME, "best")
    return str(version.version), dict(version.tags)


def test_the_first_seed_or_the_one_that_is_named_becomes_the_best(models: dict[int, Path]) -> None:
    import mlflow

    main(["toy-fc"])
    assert best() == ("1", {"run": "toy-fc", "seed": "3", "md5": md5(models[3])})
    main(["toy-fc", "--seed", "10"])
    assert best() == ("2", {"run": "toy-fc", "seed": "10", "md5": md5(models[10])})
    mlflow.set_tracking_uri(store())
    served = mlflow.pyfunc.load_model(f"models:/{NAME}@best")
    np.testing.assert_array_equal(served.predict(IMAGES), lengths(models[10]))


def test_a_network_is_one_version_however_often_it_is_registered(
    models: dict[int, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    for seed in ("3", "10", "3"):
        main(["toy-fc", "--seed", seed])
    assert best()[0] == "1"
    client = MlflowClient(store())
    experiments = [each.experiment_id for each in client.search_experiments()]
    assert sorted(run.info.run_name for run in client.search_runs(experiments)) == ["toy-fc seed-10", "toy-fc seed-3"]
    assert len(client.search_logged_models(experiments)) == 2
    said = capsys.readouterr().out
    assert f"{NAME}, version 1: models/toy-fc/seed-3.safetensors\n" in said
    assert f'mlflow models serve -m "models:/{NAME}@best"' in said


def test_a_network_that_mlflow_saw_being_trained_is_registered_from_that_run(models: dict[int, Path]) -> None:
    from mlflow import MlflowClient

    with record_run("test", "toy-fc seed 3", tags={"kind": "seed", "model": md5(models[3])}) as run:
        run.log_model(models[3])
    assert isinstance(run, MlflowRecorder)
    main(["toy-fc"])
    assert MlflowClient(store()).get_model_version(NAME, "1").run_id == run.id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy-fc", "--seed", "1"], "--seed: got 1, expected one of 3, 10"),
        (["toy-pairs"], "models/toy-pairs: no trained models; `dvc repro train@toy-pairs` makes them"),
        (["nothing"], "run: got 'nothing', expected one of toy-"),
    ],
)
def test_what_cannot_be_registered_is_one_line(
    arguments: list[str], said: str, models: dict[int, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_stage(lambda: main(arguments))
    assert capsys.readouterr().err.startswith(f"error: {said}")


@pytest.mark.parametrize("address", ["ftp://127.0.0.1:9", "postgresql://127.0.0.1:port/mlflow"])
def test_a_registry_that_cannot_be_used_is_one_line(
    address: str, models: dict[int, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(SystemExit, match="2"):
        run_stage(lambda: main(["toy-fc"]))
    said = capsys.readouterr().err
    assert said.startswith(f"error: MLflow: {address} cannot be used: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "method", ["get_registered_model", "create_registered_model", "create_model_version", "set_registered_model_alias"]
)
def test_a_registry_that_fails_half_way_is_one_line(
    method: str, models: dict[int, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(*arguments: object, **named: object) -> None:
        raise MlflowException(f"no {method} today")

    monkeypatch.setattr(MlflowClient, method, fail)
    with pytest.raises(SystemExit, match="2"):
        run_stage(lambda: main(["toy-fc"]))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert said == [f"error: MLflow: {store()} cannot be used: no {method} today"]


@pytest.mark.slow
def test_mlflow_serves_the_best_network_by_its_name(models: dict[int, Path]) -> None:
    main(["toy-fc"])
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{NAME}@best"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    address = f"http://127.0.0.1:{port}"
    body = json.dumps({"inputs": IMAGES.tolist()}).encode()
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    with (
        serving(command, f"{address}/ping", PATIENCE, env=environment),
        urllib.request.urlopen(request, timeout=60) as answer,
    ):
        got = json.load(answer)["predictions"]
    np.testing.assert_allclose(got, lengths(models[3]), rtol=1e-5)
