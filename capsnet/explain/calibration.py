"""Calibration: the length of the winning class capsule, read as a probability, compared with the accuracy.

Axes: N images, M bins.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Bins(NamedTuple):
    """Images sorted by length and cut into bins: mean length, accuracy and number of images of each bin."""

    length: Float[Tensor, " M"]
    accuracy: Float[Tensor, " M"]  # from 0 to 1
    images: Int64[Tensor, " M"]

    @property
    def error(self) -> float:
        """The expected calibration error: the sum over the bins of images / N times |accuracy - length|."""
        return float((self.images * (self.accuracy - self.length).abs()).sum() / self.images.sum())


def equal_bins(lengths: Float[Tensor, " N"], hits: Bool[Tensor, " N"], number: int) -> Bins:
    """Sort images by the length of the winner and cut them into at most `number` bins of nearly equal counts."""
    order = lengths.argsort(stable=True).tensor_split(min(number, len(lengths)))
    return Bins(
        torch.stack([lengths[part].double().mean() for part in order]),
        torch.stack([hits[part].double().mean() for part in order]),
        torch.tensor([len(part) for part in order], device=lengths.device),
    )


def accuracy_of_surest(lengths: Float[Tensor, " N"], hits: Bool[Tensor, " N"], rejected: float) -> float:
    """Return the accuracy in percent after rejecting the share `rejected` of images with the shortest winners."""
    kept = lengths.argsort(stable=True)[round(rejected * len(lengths)) :]
    return 100 * float(hits[kept].double().mean())
