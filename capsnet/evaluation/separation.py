"""What a network makes of two images that overlap, and its scores on many such pairs (Sabour et al. 2017, section 6).

Axes: N pairs, B batch, P the two images of a pair, M images, C channels, H side of an image, S side of the field,
J classes, D pose size of a class capsule.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from capsnet.data.pairs import Pairs, draw_pairs, overlay, put_together
from capsnet.evaluation.recognition import Scores, Tally, evaluating, longest
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.losses import ReconstructionLoss, reconstruction_loss


class Separated(NamedTuple):
    """Pairs, and what a network takes them for: the two classes of the longest capsules, each decoded alone.

    They stand in the order of the true classes as far as they are right; a wrong one stands for what it missed.
    """

    pixels: Float[Tensor, "B C S S"]
    digits: Float[Tensor, "B P C S S"]  # of which the pixels are made
    truth: Int64[Tensor, "B P"]
    predicted: Int64[Tensor, "B P"]
    capsules: Float[Tensor, "B J D"]
    lengths: Float[Tensor, "B J"]
    reconstructions: Float[Tensor, "B P C S S"] | None


def room(model: CapsNet, images: UInt8[Tensor, "M C H H"]) -> int:
    """Return by how many pixels images can be shifted in what the network sees. Raises ValueError if it is smaller."""
    border, odd = divmod(model.config.image_size - images.shape[2], 2)
    if border < 0 or odd:
        raise ValueError(
            f"images: got {images.shape[2]} pixels, expected {model.config.image_size} or an even number fewer"
        )
    return border


def fixed_pairs(
    model: CapsNet, images: UInt8[Tensor, "M C H H"], labels: Int64[Tensor, " M"], *, seed: int, per_image: int
) -> Pairs:
    """Return the pairs that networks of one size are scored on: the same for each of them, and on every device."""
    return draw_pairs(labels, per_image, room(model, images), Generator().manual_seed(seed))


@torch.no_grad()
def separate(model: CapsNet, images: UInt8[Tensor, "M C H H"], labels: Int64[Tensor, " M"], pairs: Pairs) -> Separated:
    """Show a network in evaluation mode pairs of images, all at once; everything lies on its device."""
    truth = labels[pairs.places]
    digits = put_together(images, pairs, model.config.image_size)
    pixels = overlay(digits)
    output = model(pixels)
    predicted = in_order_of(truth, longest(output.lengths, 2))
    decoded = model.decode(output.capsules, predicted) if model.decoder else None
    return Separated(pixels, digits, truth, predicted, output.capsules, output.lengths, decoded)


def in_order_of(truth: Int64[Tensor, "B P"], predicted: Int64[Tensor, "B P"]) -> Int64[Tensor, "B P"]:
    """Exchange two predicted classes where one of them is right only so."""
    crossed = (predicted == truth.flip(1)).any(1, keepdim=True)
    return torch.where(crossed, predicted.flip(1), predicted)


def evaluate_pairs(
    model: CapsNet,
    images: UInt8[Tensor, "M C H H"],
    labels: Int64[Tensor, " M"],
    pairs: Pairs,
    *,
    rloss: ReconstructionLoss = reconstruction_loss,
    batch_size: int = 256,
) -> Scores:
    """Score `model` on pairs of images that lie on its device; the model's training mode is left as it was.

    The accuracy is that of whole pairs: both classes right. `rloss` is summed over the two reconstructions, decoded
    from the predicted classes, and `confusion` counts each image of a pair: what was missed is taken for what was
    predicted in its place. `batch_size` bounds the memory; the scores do not depend on it beyond rounding.
    """
    tally = Tally(model, images.device)
    with evaluating(model):
        for places, shifts in zip(pairs.places.split(batch_size), pairs.shifts.split(batch_size, 1), strict=True):
            shown = separate(model, images, labels, Pairs(places, shifts))
            errors = None if shown.reconstructions is None else rloss(shown.digits, shown.reconstructions)
            tally.add(shown.lengths, shown.truth, shown.predicted, errors)
    return tally.scores()
