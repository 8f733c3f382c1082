"""Write down what trainings took, as MLflow recorded it: reports/<study>/metrics/costs.csv, a row a run and seed.

    python -m pipeline.apps.costs paper
    python -m pipeline.apps.costs paper --remark "beside other work, at the lowest priority"

Times differ from one training to the next, so no stage may have them in its outputs, and no table reads MLflow. This
command stands between: run it by hand where runs were trained, and commit the file, which the table `costs` reads. It
knows the trainings of the models in models/; rows of other runs stay as they are.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import pandas as pd

from capsnet.files import write_whole
from pipeline.reporting.scores import costs_path, read_costs
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import MODELS, models_in
from pipeline.runtime.prepared import read_manifest
from pipeline.settings.params import Params, find, load_params
from pipeline.tracking.recorder import Trained, find_trained

COLUMNS = [
    "run", "seed", "epochs", "images", "seconds_an_epoch", "hours", "peak_memory_mb", "hardware", "torch", "commit",
    "remark",
]  # fmt: skip


def cost(run: str, seed: int, path: Path, recorded: Trained, params: Params, remark: str) -> dict[str, Any]:
    """Return what training a model took. Raises ValueError if MLflow has no speed of it."""
    from capsnet.networks.saved import read_facts

    settings = read_facts(path)["settings"]
    images = read_manifest(settings["dataset"]).train
    images -= max(1, round(settings["validation"] * images)) if settings["validation"] else 0
    speeds = recorded.seed.history("images_per_second")
    if not speeds:
        raise ValueError(f"{path}: MLflow has no images_per_second of its training, expected one an epoch")
    environment = json.loads((path.parent / "environment.json").read_text(encoding="utf-8"))
    # On a GPU seeds are trained at the same time, and each was timed from the first step of any to the last.
    side_by_side = len(models_in(path.parent)) if "cuda" in environment else 1
    seconds = [images / speed / side_by_side for speed in speeds]
    memory = (recorded.parent or recorded.seed).history(f"peak_{'gpu_' if 'cuda' in environment else ''}memory_mb")
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
        "commit": recorded.seed.tagged("mlflow.source.git.commit")[:7],
        "remark": remark,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__, ("STUDY", "a key of `studies` in params.yaml"))
    made.add_argument("--remark", default="", help="what else the machine did, for the rows that are written now")
    arguments = made.parse_args(argv)
    params = load_params()
    study = arguments.study
    find(study, params.studies, "study")
    rows = []
    for run in (name for name, of in params.studies_of_runs.items() if of == study):
        for seed, path in models_in(MODELS / run).items():
            recorded = find_trained(params.tracking.experiment, path)
            if recorded is not None:
                rows.append(cost(run, seed, path, recorded, params, arguments.remark))
    if not rows:
        raise ValueError(f"{study}: got no recorded training of a model in {MODELS}/, expected at least one")
    earlier = read_costs(study)
    data = pd.DataFrame(rows, columns=COLUMNS)
    if earlier is not None:
        fresh = set(zip(data["run"], data["seed"], strict=True))
        kept = [pair not in fresh for pair in zip(earlier["run"], earlier["seed"], strict=True)]
        data = pd.DataFrame([*earlier[kept].to_dict("records"), *rows], columns=COLUMNS)
    order = {run: place for place, run in enumerate(params.studies_of_runs)}
    data = data.sort_values(["run", "seed"], key=lambda column: column.map(order) if column.name == "run" else column)
    data = data.astype({"peak_memory_mb": "Int64"})
    write_whole(costs_path(study), data.to_csv(index=False, lineterminator="\n"))
    print(f"{costs_path(study)}: {len(rows)} of {len(data)} rows written now")


if __name__ == "__main__":
    run_stage(main)
