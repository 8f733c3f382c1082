"""The dimensions of each class capsule that change the shape most.

Axes: D pose size, S steps, M measures, C channels, H W height and width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.drawing.figure import Drawing
from pipeline.drawing.perturbation import NAMEABLE, REACH, STEPS, Moved, as_table, move_dimensions, tiled, told_agreeing
from pipeline.drawing.style import GREY, displayable, each_class, first_of_each_class
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRONGEST = 3  # dimensions drawn of a class, each named after another measure
ENDS = (0, STEPS // 2, STEPS - 1)


def perturbation_classes(subject: Subject) -> Drawing:
    """Draw, for the first test image of each class, the dimensions of its capsule that change most."""
    labels = subject.labels
    classes = move_dimensions(subject, "perturbation-classes", labels[first_of_each_class(labels)].tolist())
    caption = (
        f"The class capsule of the first test image of {each_class(labels)}, decoded by the first seed of "
        f"{subject.label} as it is (in the middle) and with one dimension moved by −{REACH} and {REACH}: those that "
        "change a measure of the shape most, in standard deviations of the test images of the class (moved about as in "
        "training). "
        f"{describe(classes)}"
    )
    figure = draw_classes(classes, subject.test.manifest.class_names)
    title = "The strongest dimensions of each class"
    return Drawing("perturbation-classes", title, caption, figure, as_table(classes, subject.named))


def describe(classes: Sequence[Moved]) -> str:
    """Say how many dimensions can be named, after what, and whether the names hold for other images of the class."""
    from capsnet.explain.shape import MEASURES

    named = [measure for moved in classes for measure in moved.named.values()]
    if not named:
        return f"None changes any by {NAMEABLE}."
    dimensions = sum(len(moved.images) for moved in classes)
    counts = {measure: named.count(place) for place, measure in enumerate(MEASURES)}
    often = sorted((measure for measure in counts if counts[measure]), key=counts.__getitem__, reverse=True)
    return (
        f"Altogether, {len(named)} of {dimensions} dimensions change one by {NAMEABLE} or more, most of all "
        + listed([f"{measure} ({counts[measure]})" for measure in often])
        + f". {told_agreeing([moved.agreeing[pair] for moved in classes for pair in moved.named.items()])}"
    )


def draw_classes(classes: Sequence[Moved], names: Sequence[str]) -> "Figure":
    """Draw a row a class: before, as it is and after, for each of its strongest dimensions."""
    from matplotlib.figure import Figure

    tile, title, gap = 0.36, 0.19, 0.18
    left = 0.25 + 0.08 * max(len(names[moved.truth]) for moved in classes)
    group = len(ENDS) * tile
    width = left + STRONGEST * (group + gap)
    height = len(classes) * (tile + title) + 0.2
    figure = Figure(figsize=(width, height))
    for row, moved in enumerate(classes):
        bottom = height - (row + 1) * (tile + title)
        place = ((left - 0.12) / width, (bottom + tile / 2) / height)
        figure.text(*place, names[moved.truth], ha="right", va="center", fontsize=9)
        for column, dimension in enumerate(moved.strongest[:STRONGEST]):
            start = left + column * (group + gap)
            axes = figure.add_axes((start / width, bottom / height, group / width, tile / height))
            picture = tiled(moved.images[[dimension]][:, ENDS])
            axes.imshow(displayable(picture), "gray", vmin=0, vmax=1, aspect="auto")
            axes.set_axis_off()
            colour = "black" if dimension in moved.named else GREY
            axes.set_title(f"{dimension}: {moved.name(dimension)}", fontsize=6.5, pad=2, color=colour)
    return figure
