"""Separating two images that overlap, and a network's scores on many such pairs (Sabour et al. 2017, section 6).

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
    """Pairs, and the two classes that a network predicts for each: those of the two longest capsules.

    Each predicted class is decoded alone. A correct prediction is at the place of its true class; a wrong one is at the
    place of the class that was missed.
    """

    pixels: Float[Tensor, "B C S S"]
    digits: Float[Tensor, "B P C S S"]  # the two images that `pixels` overlays
    truth: Int64[Tensor, "B P"]
    predicted: Int64[Tensor, "B P"]
    capsules: Float[Tensor, "B J D"]
    lengths: Float[Tensor, "B J"]
    reconstructions: Float[Tensor, "B P C S S"] | None


def largest_shift(model: CapsNet, images: UInt8[Tensor, "M C H H"]) -> int:
    """Return by how many pixels images can be shifted in each direction within what the network sees.

    Raises ValueError if the network sees fewer pixels than the images have, or an odd number more.
    """
    border, odd = divmod(model.config.image_size - images.shape[2], 2)
    if border < 0 or odd:
        raise ValueError(
            f"images: got {images.shape[2]} pixels, expected {model.config.image_size} or an even number fewer"
        )
    return border


def fixed_pairs(
    model: CapsNet, images: UInt8[Tensor, "M C H H"], labels: Int64[Tensor, " M"], *, seed: int, per_image: int
) -> Pairs:
    """Return the pairs that networks are scored on: the same for all networks of one size, on every device."""
    return draw_pairs(labels, per_image, largest_shift(model, images), Generator().manual_seed(seed))


def separate(model: CapsNet, images: UInt8[Tensor, "M C H H"], labels: Int64[Tensor, " M"], pairs: Pairs) -> Separated:
    """Run a network on pairs of images, in evaluation mode and without gradients, all pairs in one batch.

    Everything lies on the network's device. The mode of the network is the same afterwards as before.
    """
    truth = labels[pairs.places]
    digits = put_together(images, pairs, model.config.image_size)
    pixels = overlay(digits)
    with evaluating(model):
        output = model(pixels, decoded=0)
        predicted = in_order_of(truth, longest(output.lengths, 2))
        decoded = None if model.decoder is None else model.decode(output.capsules, predicted)
    return Separated(pixels, digits, truth, predicted, output.capsules, output.lengths, decoded)


def in_order_of(truth: Int64[Tensor, "B P"], predicted: Int64[Tensor, "B P"]) -> Int64[Tensor, "B P"]:
    """Exchange the two predicted classes of a pair if that alone puts one of them at the place of its true class."""
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
    """Score a network on pairs of images, which must lie on its device; its mode is the same afterwards as before.

    A pair counts as correct if both classes are. `rloss` is summed over the two reconstructions, which are decoded from
    the predicted classes. `confusion` counts each image of a pair; a missed class counts as confused with the class
    predicted in its place. `batch_size` bounds the memory; the scores depend on it only up to rounding.
    """
    tally = Tally(model, images.device)
    for places, shifts in zip(pairs.places.split(batch_size), pairs.shifts.split(batch_size, 1), strict=True):
        batch = separate(model, images, labels, Pairs(places, shifts))
        errors = None if batch.reconstructions is None else rloss(batch.digits, batch.reconstructions)
        tally.add(batch.lengths, batch.truth, batch.predicted, errors)
    return tally.scores()
