"""A trained network as a model that MLflow loads and serves: uint8 images (N, C, H, W) in, lengths (N, J) out.

    mlflow models serve --model-uri runs:/<run id>/model --env-manager local

The model holds the network's file, the code that reads it (no pickle), and the versions of what that code needs. On
the same disk the file is a hard link to the one in models/, which is never written in place: DVC's cache holds the
same file.
"""

import contextlib
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import capsnet
from capsnet.files import whole_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOADER = Path(__file__).with_name("model_loader.py")
NEEDED = ("mlflow", "jaxtyping", "numpy", "safetensors", "torch")


def log_model(client: "MlflowClient", run_id: str, network: Path, name: str) -> None:
    """Record a network's file as the model `name` of a run. Raises whatever MLflow and its store raise."""
    with tempfile.TemporaryDirectory() as folder:
        write_model(network, Path(folder) / name, run_id)
        client.log_artifacts(run_id, folder)
    if artifacts := _local_artifacts(client, run_id):
        replace_by_link(artifacts / name / "data" / network.name, network)


def write_model(network: Path, folder: Path, run_id: str) -> None:
    """Write the MLflow model of a network's file into the new folder `folder`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own modules
        import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    from capsnet.networks.saved import read_facts

    config = read_facts(network)["config"]
    images = TensorSpec(np.dtype(np.uint8), (-1, config["channels"], -1, -1))
    lengths = TensorSpec(np.dtype(np.float32), (-1, config["classes"]))
    mlflow.pyfunc.save_model(
        folder,
        loader_module=LOADER.stem,
        data_path=network,
        code_paths=[str(Path(capsnet.__file__).parent), str(LOADER)],
        signature=ModelSignature(Schema([images]), Schema([lengths])),
        input_example=np.zeros((1, config["channels"], config["image_size"], config["image_size"]), np.uint8),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in NEEDED],
        mlflow_model=Model(artifact_path=folder.name, run_id=run_id),
    )


def _local_artifacts(client: "MlflowClient", run_id: str) -> Path | None:
    """Return the folder of a run's artifacts, or None if they are not on this machine."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri)
    return Path(repository.artifact_dir) if isinstance(repository, LocalArtifactRepository) else None


def replace_by_link(copy: Path, original: Path) -> None:
    """Put a hard link to `original` in place of its copy; where that is impossible the copy stays."""
    with contextlib.suppress(OSError), whole_file(copy) as temporary:
        temporary.hardlink_to(original)
