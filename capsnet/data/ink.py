"""Handwriting in a photograph: where the ink is, without shadows and the lines of the paper, and the shapes it forms.

Axes: H W height and width, C colours, N slopes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

# Chosen on drawn photographs of training images of MNIST, which have 320 pixels on their longer side: see
# tests/support/scenes.py.
STRONGEST = 95  # percentile of its ink that becomes full white
COARSE = 64  # pixels of the longer side at which ink and ground are distinguished
WIDEST = 3  # a stroke is at most 1 / WIDEST of the shorter side of the picture
FAINTEST = 0.12  # least share of the light that ink takes away
NOISES = 5  # standard deviations of the paper's noise that ink must exceed
CROSSING = 0.8  # share of its length in which a line of the paper must be visible
LEAST_SEEN = 0.3  # least share of the picture's width that a slanted line crosses before it leaves the picture
STEEPEST = 0.12  # slope of such a line, to either side
SLOPES = 49
PASSES = 3  # times that lines are removed: in a picture taken from the side they have several slopes
DARKER = 1.5  # on a line of the paper, ink is at least this many times as strong as the line
EDGE = 0.35  # least strength of a pixel of a shape, as a share of the strength of the ink; stains are weaker
JOINED = 5  # pixels; pieces with a smaller gap are one shape
NEAR = 0.2  # pieces of one shape have a gap of at most this share of its height
SPECK = 0.15  # least length of a piece, as a share of the longest one
SHORTEST = 20  # least length of a shape, in pixels
SMALLEST = 0.4  # least height of a shape, as a share of the highest one


Box = tuple[int, int, int, int]
Joined = tuple[Box, set[int]]


class Shape(NamedTuple):
    """A shape of connected ink."""

    ink: Float[np.ndarray, "h w"]  # from 0 to 1, cut out of the picture
    box: Box  # left, top, right, bottom in the picture


def find_shapes(colours: Float[np.ndarray, "H W C"]) -> list[Shape]:
    """Return the shapes that are large enough to be characters, from left to right; none on a blank sheet.

    `colours` goes from 0 to 255. Ink is whatever is darker than the paper around it, or brighter on a board.
    """
    ink, threshold = _without_offset(find_ink(colours))
    for axis in (0, 1):
        ink = _without_lines(ink, threshold, axis)
    if ink.max(initial=0.0) <= threshold:
        return []
    return _shapes(ink, threshold)


def find_ink(colours: Float[np.ndarray, "H W C"]) -> Float[np.ndarray, "H W"]:
    """Return for each pixel the share of the light that ink takes away: 0 for paper, 1 for black.

    Paper is the closing of the picture: it fills what is narrower than its square and leaves the edge of a shadow where
    it is. So only the ratio of a pixel to the paper beside it counts, not how bright the light is.
    """
    if _is_board(colours.mean(2)):
        colours = 255 - colours
    return np.asarray((1 - (colours + 1) / (_paper(colours) + 1)).max(2))


def _paper(brightness: Float[np.ndarray, "H W C"]) -> Float[np.ndarray, "H W C"]:
    side = max(3, min(brightness.shape[:2]) // WIDEST)
    padded = np.pad(brightness, ((side, side), (side, side), (0, 0)), "edge")  # a shadow goes on outside the picture
    return np.asarray(ndimage.grey_closing(padded, (side, side, 1))[side:-side, side:-side])


def _is_board(grey: Float[np.ndarray, "H W"]) -> bool:
    """Return whether ink is brighter than the ground.

    Dark ink is below the paper and below the median around it, which leaves out the paper inside a 0. Bright ink is
    found in the same way in the negative.
    """
    step = max(1, max(grey.shape) // COARSE)
    small = grey[::step, ::step]
    median = ndimage.median_filter(small, max(3, min(small.shape) // 2), mode="nearest")
    below, above = (
        np.minimum(_paper(each[..., None])[..., 0] - each, around - each).clip(0)
        for each, around in ((small, median), (255 - small, 255 - median))
    )
    return bool((above**2).sum() > (below**2).sum())


def _without_offset(ink: Float[np.ndarray, "H W"]) -> tuple[Float[np.ndarray, "H W"], float]:
    """Return ink that is 0 on most of the paper, and the threshold above which it is not noise."""
    paper = float(np.median(ink))
    noise = 1.4826 * float(np.median(np.abs(ink - paper)))
    return (ink - paper).clip(0), max(FAINTEST, NOISES * noise)


def _without_lines(ink: Float[np.ndarray, "H W"], threshold: float, axis: int) -> Float[np.ndarray, "H W"]:
    """Remove lines that cross the picture along its width (axis 1) or height (axis 0); strokes across them stay."""
    across = ink.T if axis == 0 else ink
    columns = np.arange(across.shape[1]) - across.shape[1] / 2
    margin = int(STEEPEST * across.shape[1] / 2) + 1  # so that no column is moved out of the array
    found, inside = (np.pad(each, ((margin, margin), (0, 0))) for each in (across, np.ones(across.shape, bool)))
    slopes = np.linspace(-STEEPEST, STEEPEST, SLOPES)
    visible = _sums(inside, slopes)
    for _ in range(PASSES):
        dark = ndimage.maximum_filter1d(found > threshold / 2, 3, axis=0)
        covered = _sums(dark, slopes)
        crossing = (covered > CROSSING * visible) & (visible > LEAST_SEEN * across.shape[1])
        best = int(crossing.sum(1).argmax())
        if not crossing[best].any():
            break
        found = _erased(found, crossing[best], slopes[best] * columns)
    found = found[margin:-margin]
    return found.T if axis == 0 else found


def _sums(marked: Bool[np.ndarray, "H W"], slopes: Float[np.ndarray, " N"]) -> Int[np.ndarray, "N H"]:
    """Return the number of marked pixels along lines of each slope through each row of the middle column."""
    height, width = marked.shape
    before = np.pad(marked.cumsum(1), ((0, 0), (1, 0)))  # the number in the columns before each one
    columns = np.arange(width) - width / 2
    sums = np.zeros((len(slopes), height), int)
    for place, slope in enumerate(slopes):
        shifts = (slope * columns).round().astype(int)
        starts = np.flatnonzero(np.diff(shifts, prepend=shifts[0] - 1))  # of columns with the same shift
        for start, end in zip(starts, [*starts[1:], width], strict=True):
            sums[place] += np.roll(before[:, end] - before[:, start], -shifts[start])
    return sums


def _sheared(values: np.ndarray, shifts: Float[np.ndarray, " W"]) -> np.ndarray:
    """Move each column up by its shift; what leaves the picture comes back at the other end."""
    rows = np.arange(len(values))[:, None] + shifts.round().astype(int)
    return np.asarray(values[rows % len(values), np.arange(values.shape[1])])


def _erased(
    ink: Float[np.ndarray, "H W"], lines: Bool[np.ndarray, " H"], shifts: Float[np.ndarray, " W"]
) -> Float[np.ndarray, "H W"]:
    """Remove what is no stronger than a line from its rows, and join the strokes above and below it."""
    straight = _sheared(ink, shifts)
    wide = ndimage.binary_dilation(lines, iterations=1)
    strength = _typical(ndimage.maximum_filter1d(straight, 3, axis=0))
    kept = np.where(wide[:, None] & (straight < DARKER * strength[:, None]), 0, straight)
    labels, number = ndimage.label(wide)
    thickest = max((np.sum(labels == label) for label in range(1, number + 1)), default=0)
    joined = ndimage.grey_closing(kept, (2 * (int(thickest) // 2) + 3, 1))
    return _sheared(np.where(wide[:, None], np.maximum(kept, joined), kept), -shifts)


def _typical(rows: Float[np.ndarray, "H W"]) -> Float[np.ndarray, " H"]:
    """Return the median of what is not 0 in each row, and 0 for an empty row."""
    ordered = np.sort(rows, 1)
    empty = (ordered == 0).sum(1)
    middle = np.minimum((empty + rows.shape[1]) // 2, rows.shape[1] - 1)
    return np.asarray(ordered[np.arange(len(rows)), middle])


def _shapes(ink: Float[np.ndarray, "H W"], threshold: float) -> list[Shape]:
    """Return the shapes of the ink that are about as large as the largest."""
    peak = float(np.percentile(ink[ink > threshold], 90))
    mask = ink > max(threshold, EDGE * peak)
    near = ndimage.binary_dilation(mask, iterations=JOINED // 2)
    labels, number = ndimage.label(near, np.ones((3, 3)))
    pieces = [(_box(mask & (labels == label)), {label}) for label in range(1, number + 1)]
    longest = max(map(_length, pieces))
    groups = _grouped([piece for piece in pieces if _length(piece) >= SPECK * longest])
    groups = [group for group in groups if _length(group) >= SHORTEST]
    tallest = max((box[3] - box[1] for box, _ in groups), default=0)
    found = []
    for box, members in sorted(groups, key=lambda group: group[0][0]):
        if box[3] - box[1] >= SMALLEST * tallest:
            left, top, right, bottom = box
            inside = np.isin(labels[top:bottom, left:right], list(members))
            cut = ink[top:bottom, left:right] * inside
            full = float(np.percentile(cut[cut > max(threshold, EDGE * peak)], STRONGEST))
            found.append(Shape((cut / full).clip(0, 1), box))
    return found


def _box(mask: Bool[np.ndarray, "H W"]) -> Box:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _length(piece: Joined) -> int:
    left, top, right, bottom = piece[0]
    return max(right - left, bottom - top)


def _grouped(groups: list[Joined]) -> list[Joined]:
    """Join pieces that lie above each other, such as the two strokes of a 5."""
    for first in range(len(groups)):
        for second in range(first + 1, len(groups)):
            (a, ours), (b, theirs) = groups[first], groups[second]
            if _above_each_other(a, b):
                both = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
                others = [group for place, group in enumerate(groups) if place not in (first, second)]
                return _grouped([*others, (both, ours | theirs)])
    return groups


def _above_each_other(a: Box, b: Box) -> bool:
    """Return whether two boxes are close, and one lies above the other rather than beside it."""
    across, down = (min(a[side + 2], b[side + 2]) - max(a[side], b[side]) for side in (0, 1))
    height = max(a[3], b[3]) - min(a[1], b[1])
    if across > 0.5 * min(a[2] - a[0], b[2] - b[0]):
        return down > -NEAR * height
    return down < 0.5 * min(a[3] - a[1], b[3] - b[1]) and min(across, down) > -NEAR * height
