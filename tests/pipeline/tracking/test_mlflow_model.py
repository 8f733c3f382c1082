"""A trained network comes back from MLflow, and answers over HTTP."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from saved_network import IMAGES, lengths
from servers import free_port, serving

import capsnet
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline.tracking.mlflow_model import log_scores, write_model
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.model_loader import PyfuncModel, _load_pyfunc
from pipeline.tracking.recorder import MlflowRecorder

TAGS = {"stage": "train", "output": "models/x", "fingerprint": "f", "kind": "run"}
PATIENCE = 200  # seconds until the server answers


@pytest.fixture
def network(tmp_path: Path, tiny_model: ModelConfig) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "seed-0.safetensors", CapsNet(tiny_model), {"run": "toy-fc", "seed": 0})
    return tmp_path / "seed-0.safetensors"


def experiment_of(run: MlflowRecorder) -> str:
    return str(run.client.get_run(run.id).info.experiment_id)


def recorded_model(run: MlflowRecorder) -> LoggedModel:
    (model,) = run.client.search_logged_models([experiment_of(run)], f"source_run_id = '{run.id}'")
    return model


def recorded_file(run: MlflowRecorder, name: str) -> Path:
    return Path(recorded_model(run).artifact_location.removeprefix("file://")) / "data" / name


def test_a_recorded_network_is_a_model_that_mlflow_finds_and_loads(project: Path, network: Path) -> None:
    import mlflow

    with record_run("test", "x", tags=TAGS, settings={"lr": 0.1}) as run:
        run.log_model(network)
        run.log_model(network)  # once more, as after a store that was lost
        assert not run.waits
    model = recorded_model(run)
    assert (model.name, model.status.name) == ("toy-fc-seed-0", "READY")
    assert model.params == {"lr": "0.1"}
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    (row,) = mlflow.search_logged_models([experiment_of(run)], output_format="list")
    assert row.model_id == model.model_id
    for address in (f"models:/{model.model_id}", f"runs:/{run.id}/{model.name}"):
        loaded = mlflow.pyfunc.load_model(address)
        np.testing.assert_array_equal(loaded.predict(IMAGES), lengths(network))
    assert loaded.predict(loaded.input_example).shape == (1, 3)
    assert loaded.metadata.signature.outputs.inputs[0].shape == (-1, 3)
    output = loaded.get_raw_model()(torch.zeros(1, 1, 20, 20))
    assert output.capsules.shape == (1, 3, 4)
    assert output.reconstruction.shape == (1, 1, 20, 20)
    assert loaded.unwrap_python_model() is loaded.get_raw_model()


def test_the_scores_of_a_run_are_those_of_its_model(project: Path, network: Path) -> None:
    with record_run("test", "x", tags=TAGS) as run:
        run.log_model(network)
        run.log(2, {"test_accuracy": 97.5, "train_loss": 1.0})
    for _ in range(2):
        log_scores(run.client, run.id)
    (metric,) = run.client.get_logged_model(recorded_model(run).model_id).metrics
    assert (metric.key, metric.value, metric.step) == ("test_accuracy", 97.5, 2)
    assert run.history("test_accuracy") == [97.5]


@pytest.fixture
def served(network: Path) -> PyfuncModel:
    return _load_pyfunc(str(network))


def test_fractions_wider_types_and_reversed_views_are_the_same_images(served: PyfuncModel) -> None:
    expected = served.predict(IMAGES)
    for same in (IMAGES / 255, (IMAGES / 255).astype(np.float32), IMAGES.astype(np.int64), IMAGES.astype(float)):
        np.testing.assert_array_equal(served.predict(same), expected)
    np.testing.assert_array_equal(served.predict(IMAGES.tolist()), expected)
    np.testing.assert_array_equal(served.predict(IMAGES[::-1]), expected[::-1])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 1, 24, 20), np.uint8), r"images of 24x20 pixels, expected \(N, 1, 20, 20\)$"),
        (np.zeros((1, 1, 12, 12), np.uint8), r"images of 12x12 pixels, expected \(N, 1, 20, 20\)$"),
        (np.zeros((1, 3, 20, 20), np.uint8), r"shape: got \(1, 3, 20, 20\), expected"),
        (np.zeros((20, 20), np.uint8), r"shape: got \(20, 20\), expected"),
        (np.full((1, 1, 20, 20), 256), "numbers from 256 to 256, expected whole numbers from 0 to 255"),
        (np.full((1, 1, 20, 20), -0.4), "numbers from -0.4 to -0.4"),
        (np.full((1, 1, 20, 20), 99.5), "numbers from 99.5 to 99.5"),
        (np.full((1, 1, 20, 20), np.nan), "not finite"),
        (np.full((1, 1, 20, 20), "x"), "expected numbers"),
        ([[[[1, 2], [3]]]], "different sizes"),
    ],
)
def test_what_is_no_image_of_the_network_is_refused_with_both_sizes(
    images: object, message: str, served: PyfuncModel
) -> None:
    with pytest.raises(MlflowException, match=message):
        served.predict(images)


def test_a_network_trained_on_crops_takes_the_centre_of_larger_images(tmp_path: Path, tiny_model: ModelConfig) -> None:
    path = tmp_path / "cropping.safetensors"
    save_model(path, CapsNet(tiny_model), {"settings": {"crop": 20}})
    cropping = _load_pyfunc(str(path))
    larger = np.pad(IMAGES, ((0, 0), (0, 0), (2, 2), (3, 3)))
    np.testing.assert_array_equal(cropping.predict(larger), cropping.predict(IMAGES))


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
        assert not run.waits
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
        monkeypatch.setattr(type(run.client), "log_model_artifacts", full)
        run.log_model(network)
    assert "warning: MLflow: disk full" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path, network: Path) -> Iterator[str]:
    """The address of `mlflow models serve`, started in a folder from which capsnet cannot be imported."""
    write_model(network, tmp_path / "model", Model())
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(tmp_path / "model")]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    address = f"http://127.0.0.1:{port}"
    with serving(command, f"{address}/ping", PATIENCE, cwd=tmp_path, env=environment):
        yield address


def answer(server: str, images: object) -> tuple[int, str]:
    body = json.dumps({"inputs": images}).encode()
    request = urllib.request.Request(f"{server}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answered:
            return answered.status, answered.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.slow
def test_mlflow_serves_a_network_over_http(server: str, network: Path) -> None:
    for images in (IMAGES, IMAGES / 255):
        status, text = answer(server, images.tolist())
        assert status == 200
        np.testing.assert_allclose(json.loads(text)["predictions"], lengths(network), rtol=1e-5)
    status, text = answer(server, np.zeros((1, 1, 12, 12), int).tolist())
    assert status == 400
    assert "got images of 12x12 pixels, expected (N, 1, 20, 20)" in json.loads(text)["message"]
