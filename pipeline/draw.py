"""Draw what one run makes of a data set: reports/<study>/figures/<dataset>/.

    python -m pipeline.draw digits

The networks are those trained here, or else the published ones. A picture for which something else is not there is
left out and named.
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
    """Return what a picture needs and is not there, in words; nothing for one that can be drawn."""
    if picture == "primary" and not subject.primary_path.is_file():
        return f"primary, for want of a decoder of primary capsules ({subject.primary_command})"
    unknown = [name for name in LABELS if name not in subject.test.attributes]
    if picture == "attributes" and unknown:
        return f"attributes, for {subject.test.manifest.dataset} does not say {', '.join(unknown)} of its images"
    return ""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `figures` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.figures, "figures")
    seen = subjects([entry.run], params)
    lacked = {picture: lacking(picture, seen[0]) for picture in entry.pictures}
    drawings = [PICTURES[picture](seen[0]) for picture in entry.pictures if not lacked[picture]]
    print(publish(drawings, name, entry.study, seen, params, [*filter(None, lacked.values())]))


if __name__ == "__main__":
    run_stage(main)
