"""Score every seed of a run on its test images, rotated by every multiple of an angle.

    python -m pipeline.rotate digits-deconv_bn

Beside the metrics of the run, <run>-robustness.csv has the accuracy at each angle. <run>-rotated-confusion.csv has the
number of images for each angle, true class and answer; numbers that are zero are left out.
"""

from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from capsnet.files import write_whole
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, csv_text, model_files, rotated_path
from pipeline.settings.params import find, load_params
from pipeline.tracking.lookup import find_training


class Rotated(NamedTuple):
    """Scores of every seed at every angle, as rows of two CSV files."""

    accuracy: list[dict[str, float]]
    confusion: list[dict[str, int]]


def score_rotated(folder: Path, step: int) -> Rotated:
    """Score each seed in `folder` at each multiple of `step` degrees, counter-clockwise."""
    from capsnet.data.geometry import rotate
    from capsnet.evaluation.recognition import evaluate
    from pipeline.scoring.networks import open_networks

    opened, networks = open_networks(folder)
    accuracy: list[dict[str, float]] = []
    confusion: list[dict[str, int]] = []
    for degrees in range(0, 360, step):
        images = rotate(opened.data.images, float(degrees))
        for seed, network in networks.items():
            scores = evaluate(network, images, opened.data.labels)
            accuracy.append({"seed": seed, "degrees": degrees, "accuracy": scores.accuracy})
            confusion += [
                {"seed": seed, "degrees": degrees, "actual": actual, "predicted": predicted, "count": count}
                for actual, row in enumerate(scores.confusion.tolist())
                for predicted, count in enumerate(row)
                if count
            ]
    return Rotated(sorted(accuracy, key=itemgetter("seed")), sorted(confusion, key=itemgetter("seed")))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "RUN", "a key of `robustness` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.robustness, "run")
    first, *_ = model_files(MODELS / name).values()
    rotated = score_rotated(MODELS / name, entry.step)
    path = REPORTS / entry.study / METRICS / f"{name}-robustness.csv"
    write_whole(path, csv_text(rotated.accuracy))
    write_whole(rotated_path(entry.study, name), csv_text(rotated.confusion))
    training = find_training(params.tracking.experiment, first)
    if training is not None and training.parent is not None:
        training.parent.attach(path, folder="robustness")
    angles = len({row["degrees"] for row in rotated.accuracy})
    lowest = min(row["accuracy"] for row in rotated.accuracy)
    print(f"{path}: accuracy at {angles} angles, {lowest:.4g} % at worst")


if __name__ == "__main__":
    run_stage(main)
