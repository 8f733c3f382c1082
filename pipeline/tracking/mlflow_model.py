"""A trained network as a model of MLflow: listed with its experiment, loaded, served, registered.

    mlflow models serve --model-uri models:/<model id> --env-manager local

Images (N, C, H, W) in, lengths of class capsules (N, J) out; see model_loader. The model holds the network's file, the
code that reads it (no pickle), and the versions of what that code needs. On the same disk the file is a hard link to
the one in models/, which is never written in place: DVC's cache holds the same file.
"""

import contextlib
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import capsnet
from capsnet.files import md5, whole_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import Model

LOADER = Path(__file__).with_name("model_loader.py")
NEEDED = ("mlflow", "jaxtyping", "numpy", "safetensors", "torch")
DIGEST = "md5"  # the tag of a model that says which file it is
TYPE = "capsule network"
SCORED = "test_"  # prefix of the metrics that belong to a model itself


def log_model(client: "MlflowClient", run_id: str, network: Path) -> None:
    """Record a network's file as a model of a run, once. Raises whatever MLflow and its store raise."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.models import Model

    from capsnet.networks.saved import read_facts

    run = client.get_run(run_id)
    digest = md5(network)
    if any(model.tags.get(DIGEST) == digest for model in models_of_run(client, run)):
        return
    facts = read_facts(network)
    described: dict[str, str] = {key: str(facts[key]) for key in ("run", "seed") if key in facts}
    name = f"{described['run']}-{network.stem}" if described.get("run") else network.stem
    params = {key: str(value) for key, value in run.data.params.items()}
    model = client.create_logged_model(run.info.experiment_id, name, run_id, {DIGEST: digest} | described, params, TYPE)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model"
        described_model = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
        write_model(network, written, described_model)
        client.log_model_artifacts(model.model_id, str(written))
    if artifacts := _local_folder(model.artifact_location):
        replace_by_link(artifacts / "data" / network.name, network)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def models_of_run(client: "MlflowClient", run: "Run") -> "list[LoggedModel]":
    """Return the models of a run that are complete."""
    from mlflow.entities import LoggedModelStatus

    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return [model for model in found if model.status == LoggedModelStatus.READY]


def model_uri(client: "MlflowClient", run_id: str) -> str | None:
    """Return the address of a run's model; None if it has none."""
    models = models_of_run(client, client.get_run(run_id))
    return f"models:/{models[0].model_id}" if models else None


def log_scores(client: "MlflowClient", run_id: str) -> None:
    """Give the models of a run the scores of the run, as MLflow lists them beside a model."""
    from mlflow.entities import Metric

    run = client.get_run(run_id)
    for model in models_of_run(client, run):
        scores = [
            Metric(each.key, each.value, each.timestamp, each.step, model_id=model.model_id, run_id=run_id)
            for name in run.data.metrics
            if name.startswith(SCORED)
            for each in client.get_metric_history(run_id, name)
        ]
        client.log_batch(run_id, scores)


def write_model(network: Path, folder: Path, model: "Model") -> None:
    """Write the MLflow model of a network's file into the new folder `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own modules
        import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from capsnet.networks.saved import read_facts

    config: dict[str, Any] = read_facts(network)["config"]
    shape = (config["channels"], config["image_size"], config["image_size"])
    # No schema of the input: with one for whole numbers, MLflow's server truncates fractions. The model itself
    # checks what it is given.
    model.metadata = {"input": f"images (N, {', '.join(map(str, shape))}): whole numbers 0-255, or fractions 0-1"}
    lengths = TensorSpec(np.dtype(np.float32), (-1, config["classes"]))
    mlflow.pyfunc.save_model(
        folder,
        loader_module=LOADER.stem,
        data_path=network,
        code_paths=[str(Path(capsnet.__file__).parent), str(LOADER)],
        signature=ModelSignature(outputs=Schema([lengths])),
        input_example=np.zeros((1, *shape), np.uint8),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in NEEDED],
        mlflow_model=model,
    )


def _local_folder(location: str) -> Path | None:
    """Return the folder of artifacts, or None if they are not on this machine."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    repository = get_artifact_repository(location)
    return Path(repository.artifact_dir) if isinstance(repository, LocalArtifactRepository) else None


def replace_by_link(copy: Path, original: Path) -> None:
    """Replace the copy of a file by a hard link to the original; if that is impossible, the copy stays."""
    with contextlib.suppress(OSError), whole_file(copy) as temporary:
        temporary.hardlink_to(original)
