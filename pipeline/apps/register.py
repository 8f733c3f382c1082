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
from pipeline.tracking.lookup import training_of
from pipeline.tracking.mlflow_model import model_uri
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.outbox import deliver_left
from pipeline.tracking.recorder import MlflowRecorder
from pipeline.tracking.store import exists_already, one_line_for_store_errors, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "best"
REGISTRY = "MLFLOW_REGISTRY_URI"
MD5 = "md5"  # the tag of a version that says which file it is


def recorded(client: "MlflowClient", name: str, path: Path, params: Params) -> MlflowRecorder:
    """Return an MLflow run that has a network as a model to serve. Raises ValueError if it cannot be recorded."""
    trained = training_of(client, path)
    if trained and model_uri(trained.seed.client, trained.seed.id):
        return trained.seed
    tags = {"stage": "register", "run": name, "model": md5(path)}
    with record_run(params.tracking.experiment, f"{name} {path.stem}", tags=tags) as run:
        run.log_model(path)
        if not isinstance(run, MlflowRecorder) or run.waits:
            raise ValueError(f"{path}: MLflow could not record it")
    return run


def open_registry() -> "MlflowClient":
    """Open the registry: that of the store, unless MLFLOW_REGISTRY_URI names another. Raises what the store raises."""
    from mlflow import MlflowClient

    # Without this, MLflow uses the registry of its own default store, wherever runs are recorded.
    store = open_client().tracking_uri
    return MlflowClient(store, os.environ.get(REGISTRY) or store)


def version_of(client: "MlflowClient", registered: str, digest: str) -> str | None:
    """Return the newest version of a registered model that has exactly this file; None if there is none."""
    versions = client.search_model_versions(f"name = '{registered}'")
    return next((str(each.version) for each in versions if each.tags.get(MD5) == digest), None)


def new_version(client: "MlflowClient", registered: str, run: MlflowRecorder, tags: dict[str, str]) -> str:
    """Make the model of a run a new version of a registered model, which is created if it does not exist."""
    from mlflow import set_tracking_uri

    try:
        client.create_registered_model(registered)
    except Exception as error:
        if not exists_already(error):
            raise
    set_tracking_uri(client.tracking_uri)  # otherwise the registry looks for the model in MLflow's own default store
    source = str(model_uri(run.client, run.id))
    return str(client.create_model_version(registered, source, run.id, tags=tags).version)


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
    digest = md5(path)
    registered = f"capsnet-{read_facts(path)['settings']['dataset']}"
    with one_line_for_store_errors():
        client = open_registry()
        deliver_left(client)
        version = version_of(client, registered, digest)
        if version is None:  # a network that is registered already gets no second run
            run = recorded(client, name, path, params)
            version = new_version(client, registered, run, {"run": name, "seed": str(seed), MD5: digest})
        client.set_registered_model_alias(registered, ALIAS, version)
    print(f"{registered}, version {version}: {path}")
    print(f'mlflow models serve -m "models:/{registered}@{ALIAS}" --env-manager local')


if __name__ == "__main__":
    run_stage(main)
