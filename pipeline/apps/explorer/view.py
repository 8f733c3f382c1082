"""What the explorer computes: a view of each chosen image, and a reconstruction whenever its capsule is moved.

Axes: C channels, S size of the data's images, H size that the network sees, J classes, D pose size, T types of primary
capsules, Y X rows and columns of their grid.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from capsnet.data.geometry import rotate
from capsnet.evaluation.recognition import recognise
from capsnet.explain.capsules import move
from capsnet.explain.coupling import coupling_maps
from capsnet.networks.capsnet import CapsNet


class ChosenImage(NamedTuple):
    """A test image, or one of the user."""

    image: UInt8[np.ndarray, "C S S"]
    truth: str  # the name of its class; empty if it is unknown
    doubt: str = ""  # why any answer is unsure, whatever the network says


class View(NamedTuple):
    """What the network computes of one image."""

    pixels: Float[Tensor, "C H H"]
    capsules: Float[Tensor, "1 J D"]
    lengths: Float[Tensor, " J"]
    winner: Int64[Tensor, " 1"]
    coupling: Float[Tensor, "T Y X"]  # of every primary capsule to the winner
    reconstruction: Float[Tensor, "C H H"] | None


def look(model: CapsNet, image: UInt8[np.ndarray, "C S S"], degrees: float) -> View:
    """Run the network on an image rotated counter-clockwise."""
    pixels, output = recognise(model, rotate(torch.from_numpy(image)[None], float(degrees)), with_coupling=True)
    assert output.coupling is not None
    winner = output.lengths.argmax(1)
    maps = coupling_maps(output.coupling, winner, model.config.layout.types)
    decoded = None if output.reconstruction is None else output.reconstruction[0]
    return View(pixels[0], output.capsules, output.lengths[0], winner, maps[0], decoded)


@torch.no_grad()
def moved(model: CapsNet, view: View, offsets: Sequence[float]) -> Float[Tensor, "C H H"]:
    """Decode the winning capsule after adding `offsets` to it. Raises ValueError without a decoder."""
    capsules = move(view.capsules, view.winner, torch.tensor([offsets], dtype=view.capsules.dtype))
    return model.decode(capsules, view.winner)[0]
