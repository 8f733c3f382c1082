"""Draw the pictures of one run on a data set: reports/<study>/figures/<dataset>/.

    python -m pipeline.draw digits

The networks are those trained here, otherwise the published ones. A picture that lacks something else is left out,
and the page says so.
"""

from collections.abc import Callable, Sequence

from pipeline.drawing.attributes import LABELS, attributes
from pipeline.drawing.calibration import calibration
from pipeline.drawing.confusion import confusion
from pipeline.drawing.coupling import coupling
from pipeline.drawing.curves import curves
from pipeline.drawing.embedding import embedding
from pipeline.drawing.figure import Drawing
from pipeline.drawing.outputs import publish, subjects
from pipeline.drawing.perturbation import perturbation
from pipeline.drawing.perturbation_classes import perturbation_classes
from pipeline.drawing.primary import primary
from pipeline.drawing.reconstructions import reconstructions
from pipeline.drawing.rotation import rotation
from pipeline.drawing.rotation_accuracy import rotation_accuracy
from pipeline.drawing.rotation_classes import rotation_classes
from pipeline.drawing.subject import Subject
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.settings.params import find, load_params

PICTURES: dict[str, Callable[[Subject], Drawing]] = {
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


def lacking(picture: str, subject: Subject) -> str:
    """Return in words what a picture needs and does not have; empty if it can be drawn."""
    if picture == "primary" and not subject.primary_path.is_file():
        return f"primary: there is no decoder of primary capsules ({subject.primary_command} trains it)"
    unknown = [name for name in LABELS if name not in subject.test.attributes]
    if picture == "attributes" and unknown:
        return f"attributes: {subject.test.manifest.dataset} does not give the {', '.join(unknown)} of its images"
    return ""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `figures` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.figures, "figures")
    (subject,) = subjects([entry.run], params)
    lacks = {picture: lacking(picture, subject) for picture in entry.pictures}
    drawings = [PICTURES[picture](subject) for picture in entry.pictures if not lacks[picture]]
    print(publish(drawings, name, entry.study, [subject], params, [*filter(None, lacks.values())]))


if __name__ == "__main__":
    run_stage(main)
