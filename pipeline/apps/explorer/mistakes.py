"""The test images that the network gets wrong, those with the longest capsule first.

Axes: N images, C channels, H W height and width.
"""

from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from capsnet.evaluation.recognition import recognise
from capsnet.networks.capsnet import CapsNet

BATCH = 100


class Mistake(NamedTuple):
    """A test image that was taken for another class."""

    image: int  # its place in the test set
    said: int  # the class with the longest capsule
    length: float


class Mistakes:
    """Looks for mistakes batch by batch, once for all visitors: a search that was left goes on where it stopped."""

    def __init__(self, model: CapsNet, images: UInt8[Tensor, "N C H W"], labels: Int64[Tensor, " N"]) -> None:
        self.model, self.images, self.labels = model, images, labels
        self.looked_at = 0
        self.found: list[Mistake] = []
        self.lock = Lock()

    def search(self) -> Iterator[int]:
        """Yield the number of images looked at, until it is the number of images."""
        while self.looked_at < len(self.labels):
            with self.lock:
                self._next()
            yield self.looked_at

    def _next(self) -> None:
        start = self.looked_at
        lengths = recognise(self.model, self.images[start : start + BATCH], decoded=0).output.lengths
        longest, said = lengths.max(1)
        wrong = torch.nonzero(said != self.labels[start : start + BATCH]).flatten().tolist()
        self.found += [Mistake(start + place, int(said[place]), float(longest[place])) for place in wrong]
        self.found.sort(key=lambda mistake: -mistake.length)
        self.looked_at = start + len(lengths)
