"""Images as points, by their class capsules or their pixels.

Axes: N images, D coordinates, M of them kept.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Projection(NamedTuple):
    """Points along the axes of largest variance, and the share of the variance along each."""

    points: Float[Tensor, "N M"]
    shares: Float[Tensor, " M"]


def principal_components(points: Float[Tensor, "N D"], number: int) -> Projection:
    """Project points onto the `number` axes of largest variance, each turned so that its largest weight is positive."""
    centred = points.double() - points.double().mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred)
    axes = axes[:, -number:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return Projection(centred @ (axes * largest.sign()), variances[-number:].flip(0) / variances.sum())


def nearest_other(
    points: Float[Tensor, "N D"], labels: Int64[Tensor, " N"], objects: Int64[Tensor, " N"], rows: int = 1000
) -> Int64[Tensor, " N"]:
    """Return for each point the label of the nearest one that belongs to another of `objects`.

    That is classification by one neighbour, with other images of the same thing left out.
    """
    found = []
    for start in range(0, len(points), rows):
        distances = torch.cdist(points[start : start + rows], points)
        distances[objects[start : start + rows].unsqueeze(1) == objects] = torch.inf
        found.append(labels[distances.argmin(1)])
    return torch.cat(found)
