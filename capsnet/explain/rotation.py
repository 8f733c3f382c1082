"""How a network recognises rotated images.

Axes: N images, A angles, C channels, H height and width, S side of what the network sees, J classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from capsnet.data.geometry import rotate
from capsnet.evaluation.recognition import recognise
from capsnet.networks.capsnet import CapsNet


class Turned(NamedTuple):
    """One image at several angles: what the network sees, and its output."""

    images: Float[Tensor, "A C S S"]
    lengths: Float[Tensor, "A J"]
    reconstructions: Float[Tensor, "A C S S"] | None  # of the longest capsule; None without a decoder

    @property
    def predicted(self) -> list[int]:
        """The class of the longest capsule at each angle."""
        return [int(label) for label in self.lengths.argmax(1)]


def turn(model: CapsNet, image: UInt8[Tensor, "C H H"], angles: Sequence[int]) -> Turned:
    """Run a network on one image, rotated counter-clockwise by each of `angles` in degrees."""
    turned = torch.cat([rotate(image[None], float(angle)) for angle in angles])
    pixels, output = recognise(model, turned)
    return Turned(pixels, output.lengths, output.reconstruction)
