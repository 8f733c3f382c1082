"""A trained network comes back from MLflow, and answers over HTTP."""

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from saved_network import IMAGES, lengths
from servers import free_port, serving

import capsnet
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline.tracking.mlflow_model import write_model
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import MlflowRecorder

TAGS = {"stage": "train", "output": "models/x", "fingerprint": "f", "kind": "run"}
PATIENCE = 200  # seconds until the server answers


@pytest.fixture
def network(tmp_path: Path, tiny_model: ModelConfig) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "seed-0.safetensors", CapsNet(tiny_model), {})
    return tmp_path / "seed-0.safetensors"


def test_an_attached_network_comes_back_from_mlflow_and_answers_as_it_did(project: Path, network: Path) -> None:
    import mlflow

    with record_run("test", "x", tags=TAGS) as run:
        run.log_model(network)
        assert not run.failed
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    model = mlflow.pyfunc.load_model(f"runs:/{run.id}/model")
    np.testing.assert_array_equal(model.predict(IMAGES), lengths(network))
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 1, -1, -1)
    assert model.metadata.signature.outputs.inputs[0].shape == (-1, 3)
    assert model.predict(model.input_example).shape == (1, 3)
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        model.predict(np.repeat(IMAGES, 2, 1))


def recorded_file(run: MlflowRecorder, name: str) -> Path:
    return Path(run.client.get_run(run.id).info.artifact_uri.removeprefix("file://")) / "model/data" / name


def test_a_recorded_network_takes_no_room_of_its_own_beside_its_file(project: Path, network: Path) -> None:
    with record_run("test", "x", tags=TAGS) as run:
        run.log_model(network)
    recorded = recorded_file(run, network.name)
    assert recorded.samefile(network)
    before = recorded.read_bytes()
    save_model(network, CapsNet(capsnet.load(network).config), {})  # another training, with the same name
    assert recorded.read_bytes() == before != network.read_bytes()
    assert [path.name for path in recorded.parent.iterdir()] == [network.name]


def test_where_files_cannot_be_linked_a_recorded_network_is_a_copy(
    project: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    with record_run("test", "x", tags=TAGS) as run:
        run.log_model(network)
        assert not run.failed
    recorded = recorded_file(run, network.name)
    assert not recorded.samefile(network)
    assert recorded.read_bytes() == network.read_bytes()
    assert [path.name for path in recorded.parent.iterdir()] == [network.name]


def test_a_model_that_cannot_be_recorded_is_a_warning(
    project: Path, network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    with record_run("test", "x", tags=TAGS) as run:
        monkeypatch.setattr(type(run.client), "log_artifacts", full)
        run.log_model(network)
    assert "warning: MLflow: disk full" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path, network: Path) -> Iterator[str]:
    """The address of `mlflow models serve`, started in a folder from which capsnet cannot be imported."""
    write_model(network, tmp_path / "model", "0")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(tmp_path / "model")]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    address = f"http://127.0.0.1:{port}"
    with serving(command, f"{address}/ping", PATIENCE, cwd=tmp_path, env=environment):
        yield address


@pytest.mark.slow
def test_mlflow_serves_a_network_over_http(server: str, network: Path) -> None:
    body = json.dumps({"inputs": IMAGES.tolist()}).encode()
    request = urllib.request.Request(f"{server}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        got = json.load(answer)["predictions"]
    np.testing.assert_allclose(got, lengths(network), rtol=1e-5)
