"""Add to MLflow what only files have: scores, curves, figures, tables and searches that no stage has recorded.

A stage that DVC does not run records nothing: its result was up to date, came from the run cache, or was pulled. What
it would have recorded is in files. Everything here can be repeated: nothing is recorded twice.
"""

import csv
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from capsnet.files import md5
from pipeline.reporting.scores import scored_by
from pipeline.runtime.made_files import read_json
from pipeline.runtime.paths import FIGURES, METRICS, MODELS, REPORTS, TABLES, TUNING, models_in
from pipeline.settings.params import Params
from pipeline.tracking.delivery import RESUMED_METRIC
from pipeline.tracking.lookup import trainings_of
from pipeline.tracking.mlflow_run import ORIGIN, record_run
from pipeline.tracking.recorded_scores import metrics_of_row, parents_of, record_means, record_scores_of
from pipeline.tracking.recorder import MlflowRecorder, Recorder
from pipeline.tracking.run_search import find_everywhere

if TYPE_CHECKING:
    from mlflow import MlflowClient

FILES = "files"  # the value of the tag `origin`
ATTACHED = "attached"  # the tag with a checksum of the figures and tables that a run has


def record_models(client: "MlflowClient", name: str, study: str, params: Params) -> tuple[int, int]:
    """Record what files say about the models of a run.

    The scores are recorded only if they are those of these models: `evaluate` copies their history.csv.

    Returns how many runs of MLflow were created, and how many others got scores.
    """
    models = models_in(MODELS / name)
    history = MODELS / name / "history.csv"
    if not models or not history.is_file():
        return 0, 0
    rows = read_rows(history)
    metrics_file = REPORTS / study / METRICS / f"{name}.json"
    copied = metrics_file.with_name(f"{name}-history.csv")
    scored = metrics_file.is_file() and copied.is_file() and copied.read_bytes() == history.read_bytes()
    known = trainings_of(client, models)
    missing = {seed: path for seed, path in models.items() if seed not in known}
    parents = parents_of(known.values())
    created = _create_runs(name, missing, rows, [*models], parents, params) if missing else 0
    new = trainings_of(client, missing)
    parents = parents_of([*known.values(), *new.values()])
    for parent in parents:
        if not parent.history(RESUMED_METRIC):
            record_means(parent, rows)
    added = 0
    if scored:
        metrics = read_json(metrics_file, scored_by(name))
        added = record_scores_of(known, metrics, str(metrics_file))
        record_scores_of(new, metrics, str(metrics_file))  # these runs are counted as created
        for parent in parents:
            _attach(parent, name, study)
    return created, added


def record_search(client: "MlflowClient", name: str, params: Params) -> int:
    """Record a search whose trials are in trials.csv and not in MLflow; return how many runs were created."""
    entry = params.tune[name]
    folder = REPORTS / entry.study / TUNING / name
    trials = folder / "trials.csv"
    if not trials.is_file():
        return 0
    tags = {"stage": "tune", "run": name, "kind": "run"}
    known = [_artifact(client, run.info.run_id, trials.name) for run in find_everywhere(client, tags)]
    if trials.read_bytes() in known:
        return 0
    rows = read_rows(trials)
    experiment = params.tracking.experiment
    tags |= {ORIGIN: FILES}
    with record_run(experiment, f"tune {name}", tags=tags, settings={"run": entry.run, **entry.model_dump()}) as search:
        for row in rows:
            settings = {"run": entry.run, "alpha": row["alpha"], "lr": row["lr"], "epochs": row["epochs"]}
            of_trial = {**tags, "kind": "trial", "trial": row["trial"], "state": row["state"]}
            with record_run(
                experiment, f"{name} trial {row['trial']}", tags=of_trial, settings=settings, parent=search
            ) as trial:
                scores = {key: float(row[key]) for key in ("val_accuracy", "val_rloss") if row.get(key)}
                trial.log(int(row["epochs"]), scores)
        accuracies = [float(row["val_accuracy"]) for row in rows if row["state"] == "complete"]
        search.log(0, {"val_accuracy": max(accuracies)} if accuracies else {})
        search.attach(*sorted(folder.iterdir()))
    return 1 + len(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


def _create_runs(
    name: str,
    models: Mapping[int, Path],
    rows: Sequence[Mapping[str, str]],
    seeds: Sequence[int],
    parents: Sequence[MlflowRecorder],
    params: Params,
) -> int:
    """Create the MLflow runs of models that this store never saw being trained; return how many were created.

    Args:
        name: The key of the run in params.yaml.
        models: The models without an MLflow run, by seed.
        rows: The rows of history.csv.
        seeds: The seeds of all models of the run.
        parents: The MLflow runs of all seeds. The new ones are nested in the first; without one, it is created.
        params: All settings.
    """
    from capsnet.networks.saved import read_facts, read_settings

    first = next(iter(models.values()))
    settings = {"run": read_facts(first).get("run", name), **read_settings(first)}
    tags = {"stage": "train", "run": name, ORIGIN: FILES}
    experiment = params.tracking.experiment
    of_all = {**settings, "seeds": ", ".join(map(str, seeds))}
    parent_run: AbstractContextManager[Recorder]
    if parents:
        parent_run = nullcontext(parents[0])
    else:
        parent_run = record_run(experiment, name, tags={**tags, "kind": "run"}, settings=of_all)
    with parent_run as parent:
        for seed, path in models.items():
            of_seed = {**tags, "kind": "seed", "seed": seed, "model": md5(path)}
            with record_run(
                experiment, f"{name} seed {seed}", tags=of_seed, settings={**settings, "seed": seed}, parent=parent
            ) as run:
                for row in rows:
                    if int(row["seed"]) == seed:
                        run.log(int(row["epoch"]), metrics_of_row(row))
                run.log_model(path)
    return len(models) + (0 if parents else 1)


def _attach(parent: MlflowRecorder, name: str, study: str) -> None:
    """Attach the figures and tables that show a run, unless it has them."""
    attached = {f"{FIGURES}/{folder.name}": files for folder, files in _figures_of(name, study)}
    attached[TABLES] = _tables_of(name, study)
    listed = [(folder, path.name, md5(path)) for folder, files in attached.items() for path in files]
    checksum = hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()
    if listed and parent.tag_value(ATTACHED) != checksum:
        for folder, files in attached.items():
            parent.attach(*files, folder=folder)
        parent.tag({ATTACHED: checksum})


def _figures_of(name: str, study: str) -> list[tuple[Path, list[Path]]]:
    """Return the folders of figures that show a run, each with its files."""
    return [
        (listing.parent, sorted(path for path in listing.parent.iterdir() if path.is_file()))
        for listing in sorted((REPORTS / study / FIGURES).glob("*/figures.json"))
        if name in json.loads(listing.read_text(encoding="utf-8")).get("runs", ())
    ]


def _tables_of(name: str, study: str) -> list[Path]:
    """Return the tables with a row of a run, as CSV."""
    tables = sorted((REPORTS / study / TABLES).glob("*.csv"))
    return [table for table in tables if any(row.get("run") == name for row in read_rows(table))]


def _artifact(client: "MlflowClient", run: str, name: str) -> bytes:
    """Return the contents of a file of a run; empty if it has none of that name."""
    if name not in [each.path for each in client.list_artifacts(run)]:
        return b""
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run, name, folder)).read_bytes()
