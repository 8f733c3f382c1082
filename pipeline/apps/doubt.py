"""When an answer of a network is unsure: its capsule is short, or its reconstruction differs from the picture.

The bounds were chosen on 300 training images: 99 % of them are within the bounds, for every network of the data set
that was tried. On the digits these images were held out; on MNIST the network had been trained on them, too.

Axes: C channels, H W height and width.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Bounds(NamedTuple):
    """An answer is unsure below this length of the longest capsule, or above this error of the reconstruction."""

    length: float
    error: float  # see `relative_error`


BOUNDS = {"mnist": Bounds(0.65, 0.42), "digits": Bounds(0.58, 0.4)}
# For other data the reconstruction is not judged. The margin loss trains capsules of absent classes to be shorter than
# 0.1, those of present classes longer than 0.9: Sabour et al. 2017, section 3.
OTHERS = Bounds(0.5, float("inf"))


def relative_error(image: Float[np.ndarray, "C H W"], reconstruction: Float[np.ndarray, "C H W"]) -> float:
    """Return the squared error of a reconstruction, divided by the sum of the squares of the image."""
    return float(((image - reconstruction) ** 2).sum() / max(float((image**2).sum()), 1e-12))


def doubt(dataset: str, length: float, error: float | None) -> str:
    """Return why an answer is unsure, and nothing if it is sure. `error` is None for a network without a decoder."""
    bounds = BOUNDS.get(dataset, OTHERS)
    if length < bounds.length:
        return f"its capsule has length {length:.2f}, expected at least {bounds.length:g}"
    if error is not None and error > bounds.error:
        return f"its reconstruction has an error of {100 * error:.0f} %, expected at most {100 * bounds.error:g} %"
    return ""
