"""Test images as points in a plane, by their pixels and by their class capsules."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import PHONE, class_look, small_print
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox
    from torch import Tensor

POINTS = 2000  # at most, evenly spaced among the test images
SPACES = ("pixels", "class capsules")
LINE = 0.18  # inches for a line of the legend
LETTERS = 13  # of the legend in an inch; a marker with its gaps takes as much room as MARKER letters
MARKER = 4


def embedding(subject: Subject) -> Drawing:
    """Draw test images along the two axes of largest variance, once of their pixels, once of their class capsules."""
    from capsnet.evaluation.recognition import seen
    from capsnet.explain.capsules import class_capsules
    from capsnet.explain.embedding import nearest_other, principal_components

    model, labels = subject.network, subject.test.labels
    capsules = class_capsules(model, subject.test.images)
    spaces = dict(zip(SPACES, (seen(model, subject.test.images).flatten(1), capsules.flatten(1)), strict=True))
    projections = {space: principal_components(points, 2) for space, points in spaces.items()}
    answers = {
        **{space: nearest_other(points, labels, objects(subject)) for space, points in spaces.items()},
        "longest": capsules.norm(dim=2).argmax(1),
    }
    right = {how: 100 * float((classes == labels).double().mean()) for how, classes in answers.items()}
    kept = np.arange(0, len(labels), -(-len(labels) // POINTS))
    numbers = pd.DataFrame(
        {"image": kept, "actual": subject.labels[kept], "predicted": answers["longest"].cpu().numpy()[kept]}
    )
    for space, projection in projections.items():
        for number, name in enumerate(("first", "second")):
            numbers[f"{space.replace(' ', '_')}_{name}"] = projection.points[:, number].cpu().numpy()[kept]
    others = "other test image" if subject.test.groups is None else "test image of another object"
    finding = (
        f"Measured between class capsules, the nearest {others} has the same class for {right['class capsules']:.2f} % "
        f"of the images; measured between pixels, for {right['pixels']:.2f} %."
    )
    caption = (
        f"Each point is one of {len(kept):,} test images, placed by the first two principal components of its pixels "
        f"(left) and of all its class capsules (right). A cross marks a wrong answer ({subject.label}, first seed)."
    )
    names = [subject.named(label) for label in range(subject.test.manifest.classes)]
    return Drawing("embedding", "Test images in a plane", finding, caption, draw_embedding(numbers, names), numbers)


def objects(subject: Subject) -> "Tensor":
    """Return the number of the object in each test image: its `instance` if known, otherwise that of the image."""
    import torch

    instances, labels = subject.test.groups, subject.test.labels
    return torch.arange(len(labels), device=labels.device) if instances is None else instances


def draw_embedding(points: pd.DataFrame, names: list[str]) -> "Figure":
    """Draw both spaces beside each other; each class has a colour and a marker."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = legend_columns(names)
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(PHONE, 0.5 * PHONE + LINE * lines), layout="constrained")
    panels = figure.subplot_mosaic([list(SPACES), ["names"] * 2], height_ratios=(0.5 * PHONE, LINE * lines))
    for space in SPACES:
        axes = panels[space]
        _draw_points(axes, points, space.replace(" ", "_"), names)
        axes.set_title(space, fontsize=9)
        axes.set(xlabel="first principal component", ylabel="second principal component")
        axes.spines[["top", "right"]].set_visible(False)
        small_print(axes)
    looks = [class_look(label) for label in range(len(names))]
    handles = [Line2D([], [], linestyle="", marker=marker, color=colour, markersize=5) for colour, marker in looks]
    panels["names"].legend(handles, names, loc="center", ncols=columns, fontsize=8, frameon=False, columnspacing=1)
    panels["names"].set_axis_off()
    figure.draw_without_rendering()
    for axes in figure.axes:
        _remove_overlapping(axes)
    return figure


def _draw_points(axes: "Axes", points: pd.DataFrame, space: str, names: list[str]) -> None:
    from matplotlib.patheffects import withStroke

    columns = [f"{space}_first", f"{space}_second"]
    for label, of_class in points.groupby("actual"):
        colour, marker = class_look(label)
        right = of_class["actual"] == of_class["predicted"]
        axes.plot(*of_class.loc[right, columns].to_numpy().T, marker, color=colour, markersize=2.6, mew=0)
        axes.plot(*of_class.loc[~right, columns].to_numpy().T, "x", color=colour, markersize=4.5, mew=1)
    for label, of_class in points.groupby("actual"):
        axes.annotate(
            names[label],
            of_class[columns].median(),
            ha="center",
            va="center",
            fontsize=8,
            weight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def legend_columns(names: list[str]) -> int:
    """Return how many columns of class names are as wide as the figure or narrower."""
    room = int(PHONE * LETTERS) // (max(map(len, names)) + MARKER)
    return max(1, min(len(names), room))


def _remove_overlapping(axes: "Axes") -> None:
    """Remove each name that lies on an earlier one; the legend has all names."""
    kept: list[Bbox] = []
    for text in list(axes.texts):
        box = text.get_window_extent()
        if any(box.overlaps(other) for other in kept):
            text.remove()
        else:
            kept.append(box)
