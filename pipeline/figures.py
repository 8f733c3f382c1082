"""Draw what one run makes of a data set: reports/<study>/figures/<dataset>/.

python -m pipeline.figures digits
"""

from collections.abc import Callable, Sequence

from pipeline.config import find, load_params
from pipeline.drawing.attributes import attributes
from pipeline.drawing.calibration import calibration
from pipeline.drawing.confusion import confusion
from pipeline.drawing.coupling import coupling
from pipeline.drawing.curves import curves
from pipeline.drawing.drawing import Drawing
from pipeline.drawing.embedding import embedding
from pipeline.drawing.perturbation import perturbation
from pipeline.drawing.perturbation_classes import perturbation_classes
from pipeline.drawing.primary import primary
from pipeline.drawing.reconstructions import reconstructions
from pipeline.drawing.rotation import rotation
from pipeline.drawing.rotation_accuracy import rotation_accuracy
from pipeline.drawing.rotation_classes import rotation_classes
from pipeline.drawing.stage import publish, subjects
from pipeline.drawing.subject import Subject
from pipeline.stage import name_argument, run_stage

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


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `figures` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.figures, "figures")
    seen = subjects([entry.run], params)
    drawings = [PICTURES[picture](seen[0]) for picture in entry.pictures]
    print(publish(drawings, name, entry.study, seen, params))


if __name__ == "__main__":
    run_stage(main)
