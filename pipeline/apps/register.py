"""Register a trained network in MLflow's registry, as the best one of its data set.

    python -m pipeline.apps.register mnist-deconv_bn               (the model of the first seed)
    python -m pipeline.apps.register mnist-deconv_bn --seed 2
    mlflow models serve -m "models:/capsnet-mnist@best" --env-manager local

The registered model is `capsnet-<dataset>`. Each network becomes a version of it, once, and the alias `best` points
to the one that was registered last. Which run is the best is your choice: by its results, not by those of one seed. A
network that MLflow did not see being trained (it came from a cache, or from a DVC remote) gets an MLflow run first.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capsnet.files import md5
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import MODELS, model_files
from pipeline.settings.params import Params, find, load_params
from pipeline.tracking.lookup import find_training
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import MODEL, MlflowRecorder

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "best"
REGISTRY = "MLFLOW_REGISTRY_URI"
MD5 = "md5"  # the tag of a version that says which file it is


def recorded(name: str, path: Path, params: Params) -> MlflowRecorder:
    """Return an MLflow run that has a network as a model to serve. Raises ValueError if it cannot be recorded."""
    trained = find_training(params.tracking.experiment, path)
    if trained and trained.seed.client.list_artifacts(trained.seed.id, MODEL):
        return trained.seed
    tags = {"stage": "register", "run": name, "model": md5(path)}
    with record_run(params.tracking.experiment, f"{name} {path.stem}", tags=tags) as run:
        run.log_model(path)
        if not isinstance(run, MlflowRecorder) or run.failed:
            raise ValueError(f"{path}: MLflow could not record it")
    return run


def register(run: MlflowRecorder, registered: str, path: Path, tags: dict[str, str]) -> str:
    """Point the alias of a registered model to a network, and return its version: a new one, unless it has one."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    # Or the registry is that of MLflow's own default store, whatever the run was recorded in.
    store = run.client.tracking_uri
    client = MlflowClient(store, os.environ.get(REGISTRY) or store)
    try:
        client.get_registered_model(registered)
    except MlflowException:
        client.create_registered_model(registered)
    version = version_of(client, registered, md5(path))
    if version is None:
        # The source names the run: an absolute path would break when the project is moved.
        version = client.create_model_version(registered, f"runs:/{run.id}/{MODEL}", run.id, tags=tags).version
    client.set_registered_model_alias(registered, ALIAS, str(version))
    return str(version)


def version_of(client: "MlflowClient", registered: str, digest: str) -> str | None:
    """Return the newest version of a registered model that has exactly this file."""
    versions = client.search_model_versions(f"name = '{registered}'")
    return next((each.version for each in versions if each.tags.get(MD5) == digest), None)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    from capsnet.networks.saved import read_facts

    made = parser(__doc__, ("RUN", "a trained run: a key of `runs` in params.yaml, or <search>-tuned"))
    made.add_argument("--seed", type=int, help="the seed whose model is registered [the first of the run]")
    arguments = made.parse_args(argv)
    name, params = arguments.run, load_params()
    find(name, params.studies_of_runs, "run")
    models = model_files(MODELS / name)
    seed = next(iter(models)) if arguments.seed is None else arguments.seed
    if seed not in models:
        raise ValueError(f"--seed: got {seed}, expected one of {', '.join(map(str, models))}")
    path = models[seed]
    registered = f"capsnet-{read_facts(path)['settings']['dataset']}"
    run = recorded(name, path, params)
    version = register(run, registered, path, {"run": name, "seed": str(seed), MD5: md5(path)})
    print(f"{registered}, version {version}: {path}")
    print(f'mlflow models serve -m "models:/{registered}@{ALIAS}" --env-manager local')


if __name__ == "__main__":
    run_stage(main)
