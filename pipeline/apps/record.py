"""Record in MLflow what is in files and no stage has recorded, and print the addresses of the pages to compare runs.

    python -m pipeline.apps.record              (every study)
    python -m pipeline.apps.record digits

DVC does not run a stage whose result is up to date, in its run cache, or pulled, so the stage records nothing. This
command looks for the run of each model in models/, by the model's checksum, and adds what files say: scores, mean
curves, figures, tables. A model that no run of this store trained gets one, with the tag `origin`; so does a search
that is in reports/ only. What MLflow has is not recorded again.

`make ui` starts this first: it is the last moment before somebody looks, and is the same for all ways by which a
result came. A stage of DVC would be skipped like the others.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from capsnet.sources.transfer import without_password
from pipeline.apps.recording.from_files import record_models, record_search
from pipeline.drawing.words import counted
from pipeline.runtime.command_line import parser, run_stage
from pipeline.settings.params import Params, find, load_params
from pipeline.tracking.experiments import experiment_id
from pipeline.tracking.outbox import deliver_left
from pipeline.tracking.store import one_line_for_store_errors, open_client, store_uri
from pipeline.tracking.views import VIEWS, describe_experiment, page

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS = "http://127.0.0.1:5000"  # of `mlflow ui`


def record(studies: Sequence[str], params: Params, client: "MlflowClient") -> str:
    """Record what is missing of some studies; return what was recorded, in words."""
    deliver_left(client)
    created = scored = 0
    for name, study in params.studies_of_runs.items():
        if study in studies:
            new, added = record_models(client, name, study, params)
            created, scored = created + new, scored + added
    for name, search in params.tune.items():
        if search.study in studies:
            created += record_search(client, name, params)
    if not created and not scored:
        return "nothing was missing"
    return f"recorded {counted(created, 'run')} that only files knew, and scores of {counted(scored, 'other')}"


def pages_address() -> str:
    """Return the address of MLflow's pages: that of the tracking server, without a login, or that of `mlflow ui`."""
    return without_password(store_uri()) if store_uri().startswith("http") else ADDRESS


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("studies", metavar="STUDY", nargs="*", help="keys of `studies` in params.yaml [all]")
    made.add_argument("--address", help=f"of MLflow's pages, to be printed [of MLFLOW_TRACKING_URI, or {ADDRESS}]")
    arguments = made.parse_args(argv)
    params = load_params()
    for study in arguments.studies:
        find(study, params.studies, "study")

    with one_line_for_store_errors():
        client = open_client()
        said = record(arguments.studies or [*params.studies], params, client)
        identity = experiment_id(client, params.tracking.experiment, None)
        describe_experiment(client, client.get_experiment(identity))
    print(f"MLflow: {said}")
    address = arguments.address or pages_address()
    for view, what in VIEWS.items():
        print(f"{view + ':':<8} {address.rstrip('/')}/{page(identity, view)}  ({what})")


if __name__ == "__main__":
    run_stage(main)
