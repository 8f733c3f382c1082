"""The dimensions of each class capsule that change the shape most.

Axes: D pose size, S steps, M measures, C channels, H W height and width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.drawing.figure import Drawing
from pipeline.drawing.perturbation import NAMEABLE, REACH, STEPS, Moved, agreement, as_table, move_dimensions, tiled
from pipeline.drawing.style import GREY, displayable, each_class, first_of_each_class
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRONGEST = 3  # dimensions of a class that are drawn, each named after another measure
ENDS = (0, STEPS // 2, STEPS - 1)


def perturbation_classes(subject: Subject) -> Drawing:
    """Draw, for the first test image of each class, the dimensions of its capsule with the strongest effect."""
    labels = subject.labels
    classes = move_dimensions(subject, "perturbation-classes", labels[first_of_each_class(labels)].tolist())
    caption = (
        f"The first test image of {each_class(labels)}, reconstructed unchanged (middle) and with one dimension of its "
        f"class capsule moved by −{REACH} (left) and {REACH} (right), for the {STRONGEST} dimensions with the "
        f"strongest effect ({subject.label}, first seed). "
        f"{agreement([moved.agreeing[pair] for moved in classes for pair in moved.named.items()])}"
    )
    figure = draw_classes(classes, subject.test.manifest.class_names)
    title = "The strongest dimensions of each class"
    numbers = as_table(classes, subject.named)
    return Drawing("perturbation-classes", title, describe(classes), caption, figure, numbers)


def describe(classes: Sequence[Moved]) -> str:
    """Return the finding: how many dimensions can be named, and after what most often."""
    from capsnet.explain.shape import MEASURES

    named = [measure for moved in classes for measure in moved.named.values()]
    dimensions = sum(len(moved.images) for moved in classes)
    if not named:
        return f"None of {dimensions} dimensions changes a measure of the shape by {NAMEABLE} standard deviation."
    counts = {measure: named.count(place) for place, measure in enumerate(MEASURES)}
    most = max(counts, key=counts.__getitem__)
    return (
        f"{len(named)} of {dimensions} dimensions change a measure of the shape by at least {NAMEABLE} standard "
        f"deviation of their class; most often it is the measure {most} ({counts[most]} dimensions)."
    )


def draw_classes(classes: Sequence[Moved], names: Sequence[str]) -> "Figure":
    """Draw a row for each class: moved down, unchanged and moved up, for each of its strongest dimensions."""
    from matplotlib.figure import Figure

    tile, title, gap = 0.37, 0.22, 0.18
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
            axes.set_title(f"{dimension}: {moved.name(dimension)}", fontsize=7, pad=2, color=colour)
    return figure
