"""One search from the parameters to its files, continued where it was interrupted, or helped by another process."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from pipeline.runtime.device import configure_torch, precision_here
from pipeline.runtime.locks import LOCK, try_lock
from pipeline.runtime.prepared import read_prepared
from pipeline.runtime.scratch import fingerprint
from pipeline.runtime.workspace import SCRATCH, owner, root
from pipeline.searching.claim import WORKER
from pipeline.searching.outcome import Explain, write_results
from pipeline.searching.records import name_record, parent_of
from pipeline.searching.search import Search
from pipeline.searching.storage import STORAGE, open_storage
from pipeline.searching.study import WRITTEN, open_study
from pipeline.searching.trial import run_trials
from pipeline.settings.params import Params
from pipeline.settings.searching import Tune
from pipeline.tracking.mlflow_run import record_run

STAGE = "tune"
JOURNAL = "journal.log"


def run_search(name: str, entry: Tune, params: Params, folder: Path, explain: Explain) -> dict[str, Any]:
    """Make all trials of a search, write its results into `folder`, and return the contents of best.yaml."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = prepare_search(name, entry, params, owner(folder))
    search = search._replace(tags={**search.tags, "output": folder.resolve()})
    with only_search(name, folder) as working, open_storage(working / JOURNAL) as storage:
        study = open_study(search, storage.optuna)
        search = search._replace(tags={**search.tags, "study": study.study_name})
        with record_run(
            params.tracking.experiment,
            f"{STAGE} {name}",
            tags={**search.tags, "kind": "run"},
            settings={"run": entry.run, **entry.model_dump()},
            data=search.data.source,
            resume=True,
        ) as recorder:
            name_record(study, recorder)
            trials = run_trials(search, study, storage, recorder)
            best = write_results(folder, study, trials, entry, explain)
            recorder.log(0, {"val_accuracy": best["val_accuracy"]})
            recorder.attach(*sorted(folder.iterdir()))
            study.set_user_attr(WRITTEN, entry.trials)
        print(f"study {study.study_name} in {storage.words}")
    return best


def help_search(name: str, entry: Tune, params: Params) -> int:
    """Share the trials of a search until they are all finished; return how many this process made.

    Raises ValueError if the storage cannot be shared, or nothing is left to do.
    """
    if not os.environ.get(STORAGE):
        raise ValueError(f"--worker: got no {STORAGE}, expected the URL of a PostgreSQL database that all workers use")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = prepare_search(name, entry, params, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}")
    with open_storage(Path(JOURNAL)) as storage:
        study = open_study(search, storage.optuna, helps=True)
        search = search._replace(tags={**search.tags, "study": study.study_name})
        run_trials(search, study, storage, parent_of(study))
        return sum(trial.user_attrs.get(WORKER) == search.worker for trial in study.trials)


@contextmanager
def only_search(name: str, folder: Path) -> Iterator[Path]:
    """Hold the lock of a search of this workspace, and yield the folder of its journal, which stays.

    Raises ValueError if another process holds it.
    """
    working = root() / SCRATCH / STAGE / name / owner(folder)
    held = try_lock(working / LOCK)
    if held is None:
        raise ValueError(
            f"{STAGE} {name} is already running in another process (lock {working / LOCK}); if its trials are in a "
            "PostgreSQL database, --worker shares them"
        )
    with held:
        yield working


def prepare_search(name: str, entry: Tune, params: Params, worker: str) -> Search:
    """Read the training images onto the device of the run, and collect what the trials have in common."""
    run = params.runs[entry.run]
    hardware = configure_torch(run.device, run.threads)
    run = run.model_copy(update={"precision": precision_here(name, run.precision, hardware)})
    data = read_prepared(run.dataset, "train", hardware.device)
    seed = params.seeds_of(run)[0]
    # A GPU draws other random numbers than a CPU, so neither continues the trials of the other.
    facts = (entry.model_dump(), run.model_dump(), seed, hardware.device.type, data.source.digest)
    tags = {
        "stage": STAGE,
        "run": name,
        "fingerprint": fingerprint(*facts, f"optuna {optuna.__version__}"),
        "device": hardware.words,
    }
    return Search(name, entry, run, seed, params, data, run.model(*data.shape), worker, tags)
