"""Write the time and memory of trainings, from MLflow, to reports/<study>/metrics/costs.csv: one row per run and seed.

    python -m pipeline.apps.costs paper
    python -m pipeline.apps.costs paper --remark "beside other work, at the lowest priority"

Times differ from one training to the next, so no stage has them in its outputs, and no table reads MLflow. Run this
command by hand on the machine that trained the runs, and commit the file: the table `costs` reads it. The command
updates the rows of the models in models/; rows of other runs stay as they are.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import pandas as pd

from capsnet.files import write_whole
from pipeline.reporting.scores import costs_path, read_costs
from pipeline.runtime.advice import trained_on
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import MODELS, models_in
from pipeline.runtime.prepared import read_manifest
from pipeline.settings.params import Params, find, load_params
from pipeline.tracking.lookup import RecordedTraining, training_of
from pipeline.tracking.mlflow_run import ORIGIN
from pipeline.tracking.outbox import deliver_left
from pipeline.tracking.store import one_line_for_store_errors, open_client

COLUMNS = [
    "run", "seed", "epochs", "images", "seconds_an_epoch", "hours", "peak_memory_mb", "hardware", "torch", "commit",
    "remark",
]  # fmt: skip


def cost(run: str, seed: int, path: Path, training: RecordedTraining, params: Params, remark: str) -> dict[str, Any]:
    """Return the row of one model. Raises ValueError if MLflow has no speed of its training."""
    from capsnet.networks.saved import read_facts

    settings = read_facts(path)["settings"]
    images = trained_on(read_manifest(settings["dataset"]).train, settings["validation"])
    speeds = training.seed.history("images_per_second")
    if not speeds:
        raise ValueError(f"{path}: MLflow has no images_per_second of its training, expected one for each epoch")
    environment = json.loads((path.parent / "environment.json").read_text(encoding="utf-8"))
    # On a GPU one process trains all seeds at the same time: the time of each runs from the first step of all seeds to
    # the last of all. Several processes train one seed after the other, as a CPU does. How many there were is in no
    # file of a training: params.yaml says it.
    trained = pd.read_csv(path.parent / "history.csv")["seed"].nunique()  # models of other seeds may lie elsewhere
    side_by_side = trained if "cuda" in environment and params.base_of(run).processes == 1 else 1
    seconds = [images / speed / side_by_side for speed in speeds]
    memory = (training.parent or training.seed).history(f"peak_{'gpu_' if 'cuda' in environment else ''}memory_mb")
    return {
        "run": run,
        "seed": seed,
        "epochs": settings["epochs"],
        "images": images,
        "seconds_an_epoch": round(median(seconds), 2),
        "hours": round(mean(seconds) * settings["epochs"] / 3600, 3),
        "peak_memory_mb": round(max(memory)) if memory else None,
        "hardware": environment["hardware"],
        "torch": environment["torch"],
        "commit": training.seed.tag_value("mlflow.source.git.commit")[:7],
        "remark": remark,
    }


def merged(earlier: pd.DataFrame | None, rows: Sequence[dict[str, Any]], runs: Sequence[str]) -> pd.DataFrame:
    """Return the earlier rows, replaced where there is a new one, in the order of the runs and by seed."""
    data = pd.DataFrame(rows, columns=COLUMNS)
    if earlier is not None:
        fresh = set(zip(data["run"], data["seed"], strict=True))
        kept = [pair not in fresh for pair in zip(earlier["run"], earlier["seed"], strict=True)]
        data = pd.DataFrame([*earlier[kept].to_dict("records"), *rows], columns=COLUMNS)
    order = {run: place for place, run in enumerate(runs)}
    data = data.sort_values(["run", "seed"], key=lambda column: column.map(order) if column.name == "run" else column)
    return data.astype({"peak_memory_mb": "Int64"})


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__, ("STUDY", "a key of `studies` in params.yaml"))
    made.add_argument("--remark", default="", help="what else the machine was doing, for the rows written now")
    arguments = made.parse_args(argv)
    params = load_params()
    study = arguments.study
    find(study, params.studies, "study")
    rows = []
    with one_line_for_store_errors():
        client = open_client()
        deliver_left(client)
        for run in params.runs_of(study):
            for seed, path in models_in(MODELS / run).items():
                training = training_of(client, path)
                if training is None or training.seed.tag_value(ORIGIN):
                    print(f"{path}: MLflow did not record its training here; no row is written")
                else:
                    rows.append(cost(run, seed, path, training, params, arguments.remark))
    if not rows:
        raise ValueError(f"{study}: got no model in {MODELS}/ whose training MLflow recorded, expected at least one")
    data = merged(read_costs(study), rows, [*params.studies_of_runs])
    write_whole(costs_path(study), data.to_csv(index=False, lineterminator="\n"))
    print(f"{costs_path(study)}: {len(rows)} of {len(data)} rows written now")


if __name__ == "__main__":
    run_stage(main)
