"""Score every seed of a run on its test images rotated all the way round: <run>-robustness.csv beside its metrics.

python -m pipeline.rotate digits-deconv_bn
"""

from collections.abc import Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, csv_text, model_files
from pipeline.runtime.prepared import read_prepared
from pipeline.settings.params import find, load_params, recorded_run
from pipeline.tracking.recorder import find_trained


def score_rotated(folder: Path, step: int) -> list[dict[str, float]]:
    """Return the accuracy of each seed in `folder` at each multiple of `step` degrees, counter-clockwise."""
    files = model_files(folder)
    from capsnet.data.geometry import rotate
    from capsnet.evaluation.recognition import evaluate
    from capsnet.networks.saved import load, read_settings

    first = next(iter(files.values()))
    run = recorded_run(read_settings(first), str(first))
    hardware = configure_torch(run.device, run.threads)
    data = read_prepared(run.dataset, "test", hardware.device)
    models = {seed: load(path).to(hardware.device) for seed, path in files.items()}
    rows: list[dict[str, float]] = []
    for degrees in range(0, 360, step):
        images = rotate(data.images, float(degrees))
        for seed, model in models.items():
            accuracy = evaluate(model, images, data.labels).accuracy
            rows.append({"seed": seed, "degrees": degrees, "accuracy": accuracy})
    return sorted(rows, key=lambda row: row["seed"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "RUN", "a key of `robustness` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.robustness, "run")
    rows = score_rotated(MODELS / name, entry.step)
    path = REPORTS / entry.study / METRICS / f"{name}-robustness.csv"
    write_whole(path, csv_text(rows))
    trained = find_trained(params.tracking.experiment, next(iter(model_files(MODELS / name).values())))
    if trained is not None and trained.parent is not None:
        trained.parent.attach(path, folder="robustness")
    angles = len({row["degrees"] for row in rows})
    print(f"{path}: accuracy at {angles} angles, {min(row['accuracy'] for row in rows):.4g} % at worst")


if __name__ == "__main__":
    run_stage(main)
