"""The figures in params.yaml: of one run, of four runs beside each other, and of runs that separate pairs."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, Strict

from pipeline.settings.checked import Checked, Count, MadeOfRuns, Name, Positive, Widths, distinct

if TYPE_CHECKING:
    from capsnet.explain.primary import PrimaryTraining

FigureName = Literal[  # the keys of pipeline.draw.DRAWERS
    "curves",
    "reconstructions",
    "rotation",
    "rotation-classes",
    "rotation-accuracy",
    "perturbation",
    "perturbation-classes",
    "confusion",
    "calibration",
    "embedding",
    "attributes",
    "coupling",
    "primary",
]


class Primary(Checked):
    """The training of a decoder for primary capsules."""

    hidden: Widths
    epochs: Count
    batch_size: Count
    lr: Positive
    subsets: bool

    def training(self) -> "PrimaryTraining":
        """Return the same settings as the library takes them."""
        from capsnet.explain.primary import PrimaryTraining

        return PrimaryTraining(**{field.name: getattr(self, field.name) for field in fields(PrimaryTraining)})


class Figures(MadeOfRuns):
    """The figures of one run, in the order of the page, and the decoder for its primary capsules.

    The key is the name of the run's data set.
    """

    run: Name
    pictures: Annotated[tuple[FigureName, ...], Strict(False), Field(min_length=1)]
    primary: Primary


class Compare(MadeOfRuns):
    """Four runs, one for each decoder, which are drawn beside each other."""

    runs: Annotated[tuple[Name, Name, Name, Name], Strict(False), AfterValidator(distinct)]


class SeparationFigures(MadeOfRuns):
    """The figures of a run that separates overlapping images. The key is the run's name."""
