"""Colours, widths and choices that all figures share."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008: distinct for any colour vision. Line styles repeat the distinction in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442", "#000000")
STYLES = ("-", "--", "-.", ":")
# Ten classes have ten colours and ten markers. Olive stands in for yellow, which is too light for points on white;
# wine and grey are from Tol 2021.
CLASS_COLOURS = (*COLOURS[:6], "#999933", "#000000", "#882255", "#777777")
CLASS_MARKERS = "o^sDvPX<>*"
RIGHT, WRONG = "#0072B2", "#D55E00"
BEHIND = "#BBBBBB"  # lines in the background
GREY = "#777777"  # less important words
MOST_CLASSES = 10  # most classes of which an image is shown
# Widths in inches. A phone shows a figure 340 pixels wide, and 8 points of a figure of 5 inches 7.5 pixels high.
COLUMN, PHONE = 3.4, 5.0


def displayable(image: np.ndarray) -> np.ndarray:
    """Return an image (C, H, W) for `imshow`: three channels as colours, otherwise the first channel."""
    return np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]


def plain_axes(axes: "Axes") -> None:
    """Remove the upper and right side of the frame, and draw a light grid behind the data."""
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def small_print(axes: "Axes") -> None:
    """Set labels and numbers in 8 points, the smallest that can be read in a figure of `PHONE` inches."""
    axes.tick_params(labelsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(8)


def first_of_each_class(labels: np.ndarray) -> list[int]:
    """Return the index of the first image of each of the first `MOST_CLASSES` classes. No image is chosen by eye."""
    return [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)[:MOST_CLASSES]]


def each_class(labels: np.ndarray) -> str:
    """Return the words of a caption for the classes in `first_of_each_class`."""
    return "each class" if len(np.unique(labels)) <= MOST_CLASSES else f"each of the first {MOST_CLASSES} classes"


def example(labels: np.ndarray) -> int:
    """Return the index of the image that is shown alone.

    Of ten classes it is the first image of the third (a 2, as in the published studies), otherwise the first image of
    the first class.
    """
    first = first_of_each_class(labels)
    return first[2 if len(first) == 10 else 0]


def class_look(label: int) -> tuple[str, str]:
    """Return the colour and the marker of a class; they repeat after ten classes."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)], CLASS_MARKERS[label % len(CLASS_MARKERS)]
