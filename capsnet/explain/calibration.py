"""The length of the winning class capsule taken for how sure a network is, beside how often it is right.

Axes: N images, M bins.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Bins(NamedTuple):
    """Images ordered by length and cut into bins: mean length, share of right answers and images of each."""

    length: Float[Tensor, " M"]
    accuracy: Float[Tensor, " M"]  # from 0 to 1
    images: Int64[Tensor, " M"]

    @property
    def error(self) -> float:
        """The expected calibration error: sum over the bins of images / N times |accuracy - length|."""
        return float((self.images * (self.accuracy - self.length).abs()).sum() / self.images.sum())


def equal_bins(lengths: Float[Tensor, " N"], hits: Bool[Tensor, " N"], number: int) -> Bins:
    """Cut images into `number` bins, shortest winners first, of as equal counts as can be; at most one an image."""
    order = lengths.argsort(stable=True).tensor_split(min(number, len(lengths)))
    return Bins(
        torch.stack([lengths[part].double().mean() for part in order]),
        torch.stack([hits[part].double().mean() for part in order]),
        torch.tensor([len(part) for part in order], device=lengths.device),
    )


def accuracy_of_surest(lengths: Float[Tensor, " N"], hits: Bool[Tensor, " N"], rejected: float) -> float:
    """Return the percentage of right answers after the share `rejected` with the shortest winners is left out."""
    kept = lengths.argsort(stable=True)[round(rejected * len(lengths)) :]
    return 100 * float(hits[kept].double().mean())
