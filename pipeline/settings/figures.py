"""What may be drawn, in params.yaml."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, Strict

from pipeline.settings.checked import Checked, Count, Name, Positive, Widths, distinct

if TYPE_CHECKING:
    from capsnet.explain.primary import PrimaryTraining

Picture = Literal[  # the keys of pipeline.draw.PICTURES
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


class Figures(Checked):
    """The pictures of one run's view of a data set, whose name is the key, in the order of the page."""

    study: Name
    run: Name
    pictures: Annotated[tuple[Picture, ...], Strict(False), Field(min_length=1)]


class Primary(Checked):
    """A decoder on the primary capsules of the network behind the pictures of a data set, whose name is the key."""

    run: Name
    hidden: Widths
    epochs: Count
    batch_size: Count
    lr: Positive
    subsets: bool

    def training(self) -> "PrimaryTraining":
        """Return what decides the training."""
        from capsnet.explain.primary import PrimaryTraining

        return PrimaryTraining(**{field.name: getattr(self, field.name) for field in fields(PrimaryTraining)})


class Compare(Checked):
    """Runs on one data set whose pictures stand beside each other: the four decoders."""

    study: Name
    dataset: Name
    runs: Annotated[tuple[Name, Name, Name, Name], Strict(False), AfterValidator(distinct)]


class TakenApart(Checked):
    """A run, whose name is the key, that separates pairs: its pictures show how."""

    study: Name
    dataset: Name
