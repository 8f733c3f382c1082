"""Every dimension of a class capsule moved, as in Sabour et al. 2017, figure 4, with its effect on the shape.

Axes: B images, D pose size, S steps, M measures, C channels, H W height and width.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import GREY, displayable, example
from pipeline.drawing.subject import Subject, with_decoder
from pipeline.drawing.words import signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REACH, STEPS = 0.25, 11  # steps of 0.05 from -0.25 to 0.25: Sabour et al. 2017, section 5.1
# A dimension is named after a measure if it changes the measure by at least this many standard deviations of the class.
# They are those of the test images of the class, shifted as in training.
NAMEABLE = 1
TRIED = 20  # other images of the class that are compared with the first one


class Moved(NamedTuple):
    """The first test image of a class, decoded while each dimension of its class capsule moves."""

    truth: int
    images: np.ndarray  # D S C H W, values from 0 to 1
    changes: np.ndarray  # D M, from the first step to the last
    deviations: np.ndarray  # D M, the changes in standard deviations of the class
    agreeing: np.ndarray  # D M, share of other test images of the class that change in the same direction

    @property
    def named(self) -> dict[int, int]:
        """The measure that each dimension changes most, for dimensions that change a measure by `NAMEABLE`."""
        best = np.abs(self.deviations).argmax(1)
        return {d: int(m) for d, m in enumerate(best) if abs(self.deviations[d, m]) >= NAMEABLE}

    @property
    def strongest(self) -> list[int]:
        """One dimension for each measure, the strongest first.

        It is the one that changes the measure most, among the dimensions that change no other measure more.
        """
        first: dict[int, int] = {}
        best = np.abs(self.deviations).argmax(1).tolist()
        for dimension, measure in sorted(enumerate(best), key=lambda pair: -abs(self.deviations[pair])):
            first.setdefault(measure, dimension)
        return list(first.values())

    def name(self, dimension: int) -> str:
        """Return the effect of a dimension in words: slant +12.3°."""
        from capsnet.explain.shape import MEASURES

        if dimension not in self.named:
            return "little"
        best = self.named[dimension]
        measure, unit = list(MEASURES.items())[best]
        return f"{measure} {signed(self.changes[dimension, best], 1)}{'' if unit == '°' else ' '}{unit}"


def perturbation(subject: Subject) -> Drawing:
    """Draw all dimensions of the first seed's capsule of one test image, and the effect of each."""
    truth = int(subject.labels[example(subject.labels)])
    (moved,) = move_dimensions(subject, "perturbation", [truth])
    caption = (
        f"In each row, one dimension of the class capsule of the first test image of class {subject.named(truth)} "
        f"moves from −{REACH} to {REACH}, and the network reconstructs the image; the words on the right say what "
        f"changes most ({subject.label}, first seed). "
        f"{agreement([moved.agreeing[pair] for pair in moved.named.items()])}"
    )
    title = "The effect of each dimension of a capsule"
    figure = draw_dimensions(moved)
    return Drawing("perturbation", title, describe(moved), caption, figure, as_table([moved], subject.named))


def move_dimensions(subject: Subject, figure: str, classes: Sequence[int]) -> list[Moved]:
    """Move every dimension of the capsule of `classes`, for the first test image of each, and measure the effect.

    Raises ValueError naming the run if it has no decoder.
    """
    import torch

    from capsnet.evaluation.recognition import recognise, seen
    from capsnet.explain.perturbation import changes, perturb, spread

    model = with_decoder(subject, figure)
    test, settings = subject.test, subject.settings
    cut = (test.manifest.image_size - model.config.image_size) // 2
    with torch.no_grad():
        spreads = spread(seen(model, test.images), test.labels, test.manifest.classes, (settings["max_shift"], cut))
    moved = []
    for truth in classes:
        chosen = torch.from_numpy(np.flatnonzero(subject.labels == truth)[: TRIED + 1]).to(test.images.device)
        capsules = recognise(model, test.images[chosen], decoded=0).output.capsules
        labels = test.labels[chosen]
        images = perturb(model, capsules[:1], labels[:1], torch.linspace(-REACH, REACH, STEPS).to(capsules))[0]
        changed = changes(model, capsules, labels, REACH)
        agreeing = (changed[1:].sign() == changed[0].sign()).double().mean(0)  # not a number without others
        measured = (images, changed[0], changed[0] / spreads[truth], agreeing)
        moved.append(Moved(truth, *(values.cpu().numpy() for values in measured)))
    return moved


def describe(moved: Moved) -> str:
    """Return the finding: how many dimensions can be named, and the strongest."""
    named, dimensions = moved.named, len(moved.images)
    if not named:
        return f"None of {dimensions} dimensions changes a measure of the shape by {NAMEABLE} standard deviation."
    best = moved.strongest[0]
    some = f"All {dimensions}" if len(named) == dimensions else f"{len(named)} of the {dimensions}"
    verb = "changes" if len(named) == 1 else "change"
    return (
        f"{some} dimensions {verb} a measure of the shape by at least {NAMEABLE} standard deviation of the class; "
        f"dimension {best} has the strongest effect ({moved.name(best)})."
    )


def agreement(shares: Sequence[float]) -> str:
    """Say how often other images of the class change in the same direction."""
    known = [share for share in shares if not np.isnan(share)]
    if not known:
        return "There are no other test images of the class to compare with."
    return f"On average, {100 * np.mean(known):.0f} % of other test images of the class change in the same direction."


def as_table(classes: Sequence[Moved], named: Callable[[int], str]) -> pd.DataFrame:
    """Return a row for each class, dimension and measure."""
    from capsnet.explain.shape import MEASURES

    return pd.DataFrame(
        {
            "class": named(moved.truth),
            "dimension": dimension,
            "measure": measure,
            "unit": unit,
            "change": moved.changes[dimension, place],
            "change_in_deviations": moved.deviations[dimension, place],
            "same_direction": moved.agreeing[dimension, place],
        }
        for moved in classes
        for dimension in range(len(moved.images))
        for place, (measure, unit) in enumerate(MEASURES.items())
    )


def draw_dimensions(moved: Moved) -> "Figure":
    """Draw a row for each dimension and a column for each step; a dimension without a name is grey."""
    from matplotlib.figure import Figure

    dimensions = range(len(moved.images))
    left, top, tile = 0.5, 0.45, 0.25
    width, height = left + STEPS * tile + 1.4, top + len(dimensions) * tile + 0.15
    figure = Figure(figsize=(width, height))
    box = (left / width, 0.15 / height, STEPS * tile / width, len(dimensions) * tile / height)
    axes = figure.add_axes(box)
    axes.set_xlabel("moved by", fontsize=9)
    axes.set_ylabel("dimension", fontsize=9)
    extent = (0, STEPS, len(dimensions), 0)
    axes.imshow(displayable(tiled(moved.images)), "gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    ends = [signed(-REACH, 2), "0", signed(REACH, 2)]  # names for all steps would be too small to read on a phone
    axes.set_xticks([0.5, STEPS / 2, STEPS - 0.5], ends, fontsize=9)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_yticks([d + 0.5 for d in dimensions], [str(d) for d in dimensions], fontsize=9)
    for dimension in dimensions:
        colour = "black" if dimension in moved.named else GREY
        place = (STEPS + 0.3, dimension + 0.5)
        axes.annotate(moved.name(dimension), place, va="center", fontsize=9, color=colour, annotation_clip=False)
    axes.annotate("strongest effect", (STEPS + 0.3, -1.05), fontsize=9, annotation_clip=False)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    return figure


def tiled(images: np.ndarray) -> np.ndarray:
    """Arrange images (rows, columns, C, H, W) as one image (C, rows (H + 1), columns (W + 1)) with white gaps."""
    padded = np.pad(images, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1)
    rows, columns, channels, height, width = padded.shape
    return padded.transpose(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
