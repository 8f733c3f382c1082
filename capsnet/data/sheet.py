"""A sheet of paper that lies on something else: found in a photograph, turned upright, and cut out.

Axes: H W height and width, P points with x and y.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from capsnet.data.ink import Box

# Chosen on drawn photographs of training images of MNIST: see tests/support/scenes.py.
COARSE = 160  # pixels of the picture's longer side while the sheet is searched
LEAST_SHEET = 0.15  # share of the picture that a sheet covers
LEAST_AROUND = 0.02  # share of the picture that is not the sheet
CONTRAST = 0.75  # what surrounds the sheet has at most this share of its light, or the inverse
CONTRAST_CUT = 0.4  # the same where most of the outline is cut off: it may be the edge of a shadow, which is brighter
FULLEST = 0.75  # a sheet covers at least this share of its convex hull; the rest is ink
STRAIGHT = 0.6  # from 0 for a disc to 1 for a rectangle
EDGE = 2  # coarse pixels at the edge of a sheet that are ignored


class Sheet(NamedTuple):
    """A sheet that was cut out of a picture."""

    picture: Image.Image  # upright; the paper goes on where the sheet ends
    axes: Float[np.ndarray, "2 2"]  # how far a step along its x and y goes in the whole picture
    corner: Float[np.ndarray, " 2"]  # where its upper left corner is in the whole picture

    def box_in_whole(self, box: Box, whole: tuple[int, int]) -> Box:
        """Return the box in a picture of the size `whole` around a box of the sheet."""
        left, top, right, bottom = box
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) @ self.axes.T + self.corner
        low, high = (end.round().clip(0, whole).astype(int).tolist() for end in (corners.min(0), corners.max(0)))
        return low[0], low[1], high[0], high[1]


class _Outline(NamedTuple):
    """The convex hull of a sheet, without what the border of the picture cuts off."""

    edges: Float[np.ndarray, "N 2"]  # from end to end
    planes: Float[np.ndarray, "N 3"]  # times (x, y, 1): the distance of a point from an edge, negative inside
    area: float


def find_sheet(picture: Image.Image, longest: int) -> Sheet | None:
    """Return the sheet in a picture in RGB, with `longest` pixels on its longer side; None if it fills the picture."""
    scale = COARSE / max(picture.size)
    small = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BILINEAR)
    if min(small.size) < COARSE // 10:
        return None
    light = ndimage.gaussian_filter(np.log(np.asarray(small, np.float64).min(2) + 1), 1)
    threshold = _otsu(light)
    outlines = [_outline(region, light) for region in (light > threshold, light <= threshold)]
    found = max((each for each in outlines if each is not None), key=lambda each: each.area, default=None)
    return None if found is None else _cut_out(picture, found, small.size, longest)


def _otsu(values: Float[np.ndarray, "H W"]) -> float:
    """Return the value at which two classes have the largest variance between them. Source: Otsu 1979."""
    ordered = np.sort(values, None)
    below = np.arange(1, ordered.size)
    sums = ordered.cumsum()
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / below[::-1]
    return float(ordered[(below * below[::-1] * (means[1] - means[0]) ** 2).argmax()])


def _outline(region: Bool[np.ndarray, "H W"], light: Float[np.ndarray, "H W"]) -> _Outline | None:
    """Return the outline of the largest connected part of a region; None if that is not a sheet."""
    labels, _ = ndimage.label(region)
    sizes = np.bincount(labels.ravel())[1:]
    if sizes.max(initial=0) < FULLEST * LEAST_SHEET * region.size:
        return None
    part = labels == sizes.argmax() + 1
    hull = ConvexHull(np.argwhere(part)[:, ::-1])
    starts, ends = hull.points[hull.simplices].transpose(1, 0, 2)
    last = np.array(region.shape[::-1]) - 1
    cut = (((starts < 1) & (ends < 1)) | ((starts > last - 1) & (ends > last - 1))).any(1)
    if cut.all():
        return None
    found = _Outline((ends - starts)[~cut], hull.equations[~cut], hull.volume)
    inside = _distances(found, np.indices(region.shape, float)[::-1]) <= 0
    if not LEAST_SHEET <= inside.mean() <= 1 - LEAST_AROUND or part.sum() < FULLEST * inside.sum():
        return None
    own, whole = (np.linalg.norm(steps, axis=1).sum() for steps in (found.edges, ends - starts))
    contrast = CONTRAST if own > whole / 2 else CONTRAST_CUT
    if abs(np.median(light[part]) - np.median(light[~inside])) < -np.log(contrast):
        return None
    return found if abs(_direction(found)) >= STRAIGHT else None


def _distances(outline: _Outline, points: Float[np.ndarray, "2 H W"]) -> Float[np.ndarray, "H W"]:
    """Return how far points lie outside an outline, negative inside."""
    normals = outline.planes[:, :2]
    return np.asarray((np.tensordot(normals, points, 1) + outline.planes[:, 2, None, None]).max(0))


def _direction(outline: _Outline) -> complex:
    """Return the mean direction of the edges, with 4 times their angles, so that right angles agree."""
    steps = outline.edges @ np.array([1, 1j])
    lengths = np.abs(steps)
    return complex((lengths * (steps / lengths) ** 4).sum() / lengths.sum())


def _cut_out(picture: Image.Image, outline: _Outline, size: tuple[int, int], longest: int) -> Sheet:
    """Turn the sheet upright, and let the paper go on where it ends."""
    angle = np.angle(_direction(outline)) / 4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inside = _distances(outline, np.indices(size[::-1], float)[::-1]) <= -EDGE
    by = np.array(picture.size) / size
    upright = (np.argwhere(inside)[:, ::-1] + 0.5) * by @ turn
    low, high = upright.min(0), upright.max(0)
    factor = longest / max(high - low)
    width, height = (max(1, round(side * factor)) for side in high - low)
    reduced = picture.resize([max(1, round(side * factor)) for side in picture.size], Image.Resampling.BILINEAR)
    affine = np.column_stack([turn, factor * turn @ low]).ravel().tolist()
    page = np.asarray(reduced.transform((width, height), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))
    places = np.tensordot(turn / factor, np.indices((height, width))[::-1] + 0.5, 1) + (turn @ low)[:, None, None]
    coarse = places / by[:, None, None] - 0.5
    beyond = ((coarse < 0) | (coarse > np.array(size)[:, None, None] - 1)).any(0)
    outside = (_distances(outline, coarse) > -EDGE) | beyond
    nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    return Sheet(Image.fromarray(page[tuple(nearest)]), turn / factor, turn @ low)
