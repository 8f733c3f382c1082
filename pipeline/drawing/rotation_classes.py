"""One test image of each class, rotated through 360 degrees.

Axes: A angles, C channels, H W height and width, J classes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.rotation import DEGREES, STEP, pieces
from pipeline.drawing.style import COLUMN, RIGHT, WRONG, displayable, each_class, first_of_each_class
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import stretches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rotation_classes(subject: Subject) -> Drawing:
    """Draw the predicted class and its length at every angle, for the first test image of each class."""
    from capsnet.explain.rotation import turn

    model, names = subject.network, subject.test.manifest.class_names
    chosen = first_of_each_class(subject.labels)
    turned = [turn(model, subject.test.images[index], DEGREES) for index in chosen]
    lengths = [each.lengths.cpu().numpy() for each in turned]
    truths = subject.labels[chosen].tolist()
    numbers = pd.DataFrame(
        {
            "class": names[truth],
            "degrees": degrees,
            "predicted": names[row.argmax()],
            "length": row.max(),
            "length_of_class": row[truth],
        }
        for truth, rows in zip(truths, lengths, strict=True)
        for degrees, row in zip(DEGREES, rows, strict=True)
    )
    caption = (
        f"The first test image of {each_class(subject.labels)}, rotated counter-clockwise. The height of the band is "
        "the length of the longest capsule, with its class: blue where that is right, orange where it is wrong "
        f"({subject.label}, first seed)."
    )
    upright = [each.images[0].cpu().numpy() for each in turned]
    figure = draw_ribbons(upright, lengths, truths, names)
    title = "One test image of each class, rotated through 360°"
    return Drawing("rotation-classes", title, describe(lengths, truths, names), caption, figure, numbers)


def describe(lengths: Sequence[np.ndarray], truths: Sequence[int], names: Sequence[str]) -> str:
    """Return the finding: how many images are recognised upside down, and which at the most and the fewest angles."""
    shares = {names[truth]: 100 * float((rows.argmax(1) == truth).mean()) for rows, truth in _pairs(lengths, truths)}
    right = sum(int(rows[len(DEGREES) // 2].argmax()) == truth for rows, truth in _pairs(lengths, truths))
    most, fewest = (choose(shares, key=shares.__getitem__) for choose in (max, min))
    return (
        f"{right} of {len(truths)} images are recognised upside down; {most} is recognised at the most angles "
        f"({shares[most]:.0f} %), {fewest} at the fewest ({shares[fewest]:.0f} %)."
    )


def _pairs(lengths: Sequence[np.ndarray], truths: Sequence[int]) -> "zip[tuple[np.ndarray, int]]":
    return zip(lengths, truths, strict=True)


def draw_ribbons(
    upright: Sequence[np.ndarray], lengths: Sequence[np.ndarray], truths: Sequence[int], names: Sequence[str]
) -> "Figure":
    """Draw a row for each image (C, H, W): the image, and the longest of its lengths (A, J) over the angle."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tight = ConstrainedLayoutEngine(h_pad=0.02, w_pad=0.02, hspace=0, wspace=0)
    figure = Figure(figsize=(COLUMN, 0.44 * len(upright) + 0.45), layout=tight)
    grid = figure.subplots(len(upright), 2, squeeze=False, width_ratios=(1, 8), sharex="col")
    for (left, right), image, rows, truth in zip(grid, upright, lengths, truths, strict=True):
        left.imshow(displayable(image), "gray", vmin=0, vmax=1)
        left.set_axis_off()
        _draw_ribbon(right, rows, truth, names)
    grid[0, 1].set_yticks([0, 1], ["0", "1"], fontsize=6)
    ticks = range(0, 361, 90)
    grid[-1, 1].set_xticks(ticks, [f"{degrees}°" for degrees in ticks], fontsize=7)
    grid[-1, 1].set_xlabel("rotated counter-clockwise by", fontsize=7)
    return figure


def _draw_ribbon(axes: "Axes", lengths: np.ndarray, truth: int, names: Sequence[str]) -> None:
    predicted, longest = lengths.argmax(1), lengths.max(1)
    closed = np.append(np.arange(len(DEGREES)), 0)
    edges = np.clip(np.arange(len(closed) + 1) * STEP - STEP / 2, 0, 360)
    for colour, of_this in ((RIGHT, predicted == truth), (WRONG, predicted != truth)):
        axes.stairs(np.where(of_this, longest, 0)[closed], edges, fill=True, color=colour)
    for stretch in stretches(predicted.tolist()):
        for low, high in pieces(stretch):
            axes.axvline(low, color="white", linewidth=0.8)
            if high - low > 8 * len(names[stretch.value]):
                place = ((low + high) / 2, 0.06)
                axes.annotate(names[stretch.value], place, ha="center", fontsize=6.5, color="white")
    axes.set(xlim=(0, 360), ylim=(0, 1), yticks=[])
    axes.tick_params(length=0, pad=2)
    axes.spines[["top", "left", "right"]].set_visible(False)
