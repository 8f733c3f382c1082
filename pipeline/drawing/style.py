"""What all pictures have in common."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008: told apart with any colour vision; line styles repeat the message in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442", "#000000")
STYLES = ("-", "--", "-.", ":")
RIGHT, WRONG = "#0072B2", "#D55E00"
BEHIND = "#BBBBBB"  # what is there to compare with
GREY = "#777777"  # words that matter less
MOST_CLASSES = 10  # of which one image each is shown
COLUMN, PAGE = 3.4, 7.0  # inches: the width of one column, and of both


def displayable(image: np.ndarray) -> np.ndarray:
    """Return an image (C, H, W) as matplotlib wants it: three channels in colour, of one, two or four the first."""
    return np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]


def plain_axes(axes: "Axes") -> None:
    """Take away the frame's upper and right side, and lay a light grid behind the data."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def small_print(axes: "Axes") -> None:
    """Set labels in 8 and numbers in 7 points, for pictures as wide as a page of print."""
    axes.tick_params(labelsize=7)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(8)


def first_of_each_class(labels: np.ndarray) -> list[int]:
    """Return the index of the first image of each class, of many the first: a choice that nobody made by eye."""
    return [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)[:MOST_CLASSES]]


def each_class(labels: np.ndarray) -> str:
    """Say in a caption of which classes that is the first image."""
    return "each class" if len(np.unique(labels)) <= MOST_CLASSES else f"each of the first {MOST_CLASSES} classes"


def example(labels: np.ndarray) -> int:
    """Return the index of the image that is shown alone: the first 2, as in the studies, if there are ten classes.

    Otherwise it is the first image of the first class.
    """
    first = first_of_each_class(labels)
    return first[2 if len(first) == 10 else 0]
