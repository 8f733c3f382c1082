"""Draw the figures of one run on its data set: reports/<study>/figures/<dataset>/.

    python -m pipeline.draw digits

The networks are in models/, otherwise in published/. A figure for which another file is missing is left out and named.
"""

from collections.abc import Callable, Sequence

from pipeline.drawing.attributes import LABELS, attributes
from pipeline.drawing.calibration import calibration
from pipeline.drawing.confusion import confusion
from pipeline.drawing.coupling import coupling
from pipeline.drawing.curves import curves
from pipeline.drawing.embedding import embedding
from pipeline.drawing.figure import Drawing
from pipeline.drawing.outputs import subjects, write_figures
from pipeline.drawing.perturbation import perturbation
from pipeline.drawing.perturbation_classes import perturbation_classes
from pipeline.drawing.primary import primary
from pipeline.drawing.reconstructions import reconstructions
from pipeline.drawing.rotation import rotation
from pipeline.drawing.rotation_accuracy import rotation_accuracy
from pipeline.drawing.rotation_classes import rotation_classes
from pipeline.drawing.subject import Subject, primary_path, score_networks
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.paths import rotated_path
from pipeline.settings.params import find, load_params

DRAWERS: dict[str, Callable[[Subject], Drawing]] = {
    "curves": lambda subject: curves([subject]),
    "reconstructions": lambda subject: reconstructions([subject]),
    "rotation": rotation,
    "rotation-classes": rotation_classes,
    "rotation-accuracy": rotation_accuracy,
    "perturbation": perturbation,
    "perturbation-classes": perturbation_classes,
    "confusion": confusion,
    "calibration": calibration,
    "embedding": embedding,
    "attributes": attributes,
    "coupling": coupling,
    "primary": primary,
}
NEED_SCORES = {"calibration", "attributes"}  # they need the answer to each image, which no file has


def lacking(figure: str, subject: Subject) -> str:
    """Return why a figure cannot be drawn, with its name; nothing for one that can be drawn."""
    dataset = subject.test.manifest.dataset
    if figure == "primary" and not primary_path(dataset).is_file():
        # DVC would train the run first.
        makes = f"python -m pipeline.decode {dataset}" if subject.published_files else f"dvc repro decode@{dataset}"
        return f"primary: there is no decoder of primary capsules (`{makes}` makes it)"
    if figure == "rotation-accuracy" and not rotated_path(subject.study, subject.run).is_file():
        return f"rotation-accuracy: {subject.run} has no scores yet (`dvc repro rotate@{subject.run}` makes them)"
    unknown = [name for name in LABELS if name not in subject.test.attributes]
    if figure == "attributes" and unknown:
        return f"attributes: the images of {dataset} have no {', '.join(unknown)}"
    return ""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `figures` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.figures, "figures")
    (subject,) = subjects([entry.run], params)
    lacked = {figure: lacking(figure, subject) for figure in entry.pictures}
    wanted = [figure for figure in entry.pictures if not lacked[figure]]
    if NEED_SCORES & {*wanted}:
        subject = subject._replace(scores=score_networks(subject))
    drawings = [DRAWERS[figure](subject) for figure in wanted]
    print(write_figures(drawings, name, entry.study, [subject], params, [*filter(None, lacked.values())]))


if __name__ == "__main__":
    run_stage(main)
