"""Images as points in the space of their class capsules or of their pixels.

Axes: N images, D coordinates, M axes that points are projected onto.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Projection(NamedTuple):
    """The coordinates of points along the axes of largest variance, and each axis's share of the variance."""

    points: Float[Tensor, "N M"]
    shares: Float[Tensor, " M"]


def principal_components(points: Float[Tensor, "N D"], number: int) -> Projection:
    """Project points onto the `number` axes of largest variance. The largest weight of each axis is positive."""
    centred = points.double() - points.double().mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    axes = axes[:, -number:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return Projection(centred @ (axes * largest.sign()), variances[-number:].flip(0) / variances.sum())


def nearest_other(
    points: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], objects: Int64[Tensor, " N"], rows: int = 1000
) -> Int64[Tensor, " N"]:
    """Return for each point the label of the nearest point of another object.

    This is classification by the nearest neighbour, without other images of the same object.
    """
    found = []
    for start in range(0, len(points), rows):
        distances = torch.cdist(points[start : start + rows], points)
        distances[objects[start : start + rows].unsqueeze(1) == objects] = torch.inf
        found.append(labels[distances.argmin(1)])
    return torch.cat(found)
