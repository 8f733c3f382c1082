"""Overlapping pairs, explained: reconstructions of the two predicted classes, and of a class that is absent.

Axes: B batch, P the two images of a pair, M images, C channels, H side of an image, S side of the field, J classes.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from capsnet.data.pairs import Pairs
from capsnet.evaluation.separation import separate
from capsnet.networks.capsnet import CapsNet


class ExplainedPairs(NamedTuple):
    """Pairs, the two classes that a network predicts, and its reconstructions of those and of an absent class."""

    pixels: Float[Tensor, "B C S S"]
    digits: Float[Tensor, "B P C S S"]  # the two images that `pixels` overlays
    truth: Int64[Tensor, "B P"]
    predicted: Int64[Tensor, "B P"]  # in the order of `truth` as far as they are correct
    reconstructions: Float[Tensor, "B P C S S"]  # of each predicted class alone
    lengths: Float[Tensor, "B J"]
    absent: Int64[Tensor, " B"]
    forced: Float[Tensor, "B C S S"]  # the reconstruction of `absent`


@torch.no_grad()
def explain_pairs(
    model: CapsNet, images: UInt8[Tensor, "M C H H"], labels: Int64[Tensor, " M"], pairs: Pairs
) -> ExplainedPairs:
    """Run a network in evaluation mode on pairs, and reconstruct from one more capsule of each.

    That capsule is the longest one of the classes that are neither in the pair nor predicted; if there is no such
    class, of those not in the pair. Raises ValueError for a network without a decoder, or with two classes.
    """
    if model.config.classes < 3:
        raise ValueError(f"classes: got {model.config.classes}, expected at least 3 to have one that is not in a pair")
    pixels, digits, truth, predicted, capsules, lengths, _ = separate(model, images, labels, pairs)
    absent = lengths.scatter(1, predicted, -1.0).scatter(1, truth, -2.0).argmax(1)
    drawn = model.decode(capsules, torch.cat([predicted, absent.unsqueeze(1)], 1))
    return ExplainedPairs(pixels, digits, truth, predicted, drawn[:, :2], lengths, absent, drawn[:, 2])
