"""Score every seed of a run on its rotated test images: <run>-robustness.csv beside its metrics.

    python -m pipeline.rotate digits-deconv_bn

The images are rotated by each multiple of the step in params.yaml, all the way round.
"""

from collections.abc import Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, csv_text, model_files
from pipeline.settings.params import find, load_params
from pipeline.tracking.lookup import find_training


def score_rotated(folder: Path, step: int) -> list[dict[str, float]]:
    """Return the accuracy of each seed in `folder` at each multiple of `step` degrees, counter-clockwise."""
    from capsnet.data.geometry import rotate
    from capsnet.evaluation.recognition import evaluate
    from pipeline.scoring.networks import open_networks

    opened, networks = open_networks(folder)
    rows: list[dict[str, float]] = []
    for degrees in range(0, 360, step):
        images = rotate(opened.data.images, float(degrees))
        for seed, network in networks.items():
            accuracy = evaluate(network, images, opened.data.labels).accuracy
            rows.append({"seed": seed, "degrees": degrees, "accuracy": accuracy})
    return sorted(rows, key=lambda row: row["seed"])


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "RUN", "a key of `robustness` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.robustness, "run")
    first, *_ = model_files(MODELS / name).values()
    rows = score_rotated(MODELS / name, entry.step)
    path = REPORTS / entry.study / METRICS / f"{name}-robustness.csv"
    write_whole(path, csv_text(rows))
    training = find_training(params.tracking.experiment, first)
    if training is not None and training.parent is not None:
        training.parent.attach(path, folder="robustness")
    angles = len({row["degrees"] for row in rows})
    print(f"{path}: accuracy at {angles} angles, {min(row['accuracy'] for row in rows):.4g} % at worst")


if __name__ == "__main__":
    run_stage(main)
