"""One search from the parameters to its files, resumed where it was interrupted."""

from pathlib import Path
from typing import Any

import optuna

from pipeline.runtime.device import configure_torch, precision_here
from pipeline.runtime.prepared import read_prepared
from pipeline.runtime.scratch import fingerprint, scratch
from pipeline.runtime.workspace import owner
from pipeline.searching.outcome import best_values, write_results
from pipeline.searching.search import WRITTEN, Search, open_study
from pipeline.searching.storage import open_storage
from pipeline.searching.trial import run_trials
from pipeline.settings.params import Params
from pipeline.settings.searching import Tune
from pipeline.tracking.mlflow_run import record_run

STAGE = "tune"


def run_search(name: str, entry: Tune, params: Params, folder: Path) -> dict[str, Any]:
    """Make all trials of a search, write its results into `folder`, and return the contents of best.yaml."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = prepare_search(name, entry, params, folder)
    with (
        scratch(STAGE, name, folder, str(search.tags["fingerprint"])) as working,
        open_storage(working / "journal.log") as storage,
        record_run(
            params.tracking.experiment,
            f"{STAGE} {name}",
            tags={**search.tags, "kind": "run"},
            settings={"run": entry.run, **entry.model_dump()},
            data=search.data.source,
            resume=True,
        ) as recorder,
    ):
        study = open_study(search, storage)
        trials = run_trials(search, study, recorder)
        write_results(folder, trials, entry)
        best = best_values(trials)
        recorder.log(0, {"val_accuracy": best["val_accuracy"]})
        recorder.attach(*sorted(folder.iterdir()))
        study.set_user_attr(WRITTEN, True)
    return best


def prepare_search(name: str, entry: Tune, params: Params, folder: Path) -> Search:
    """Read the training images onto the device of the run, and collect what the trials have in common."""
    run = params.runs[entry.run]
    hardware = configure_torch(run.device, run.threads)
    run = run.model_copy(update={"precision": precision_here(name, run.precision, hardware)})
    data = read_prepared(run.dataset, "train", hardware.device)
    seed = params.seeds_of(run)[0]
    facts = (entry.model_dump(), run.model_dump(), seed, data.source.digest)
    tags = {
        "stage": STAGE,
        "run": name,
        "output": folder.resolve(),
        "fingerprint": fingerprint(*facts, f"optuna {optuna.__version__}"),
        "device": hardware.words,
    }
    return Search(name, entry, run, seed, params, data, run.model(*data.shape), owner(folder), tags)
