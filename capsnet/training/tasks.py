"""What a network is trained to do: recognise the one class of an image, or separate two images that overlap.

A task says how many images make an example, which, how they are put together, and how progress is measured. The rest
of a training is the same for all: labels are (B) for one class an image and (B, P) for several, and losses, decoder
and scores take either.

Axes: N images, B batch, P images of an example, C channels, S side of what the network sees.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from capsnet.data.augmentation import Augmentation, Change, augmentation, draw_shifts
from capsnet.data.pairs import draw_pairs, draw_partners, overlay, place, require_classes
from capsnet.evaluation.recognition import Scores, evaluate
from capsnet.evaluation.separation import evaluate_pairs, room
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.losses import ReconstructionLoss


class Batch(NamedTuple):
    """What a step trains on: images, the classes in each, and what the decoder is to make of each class."""

    pixels: Float[Tensor, "B C S S"]
    labels: Int64[Tensor, " B *P"]
    targets: Float[Tensor, "B *P C S S"]


class Examples(NamedTuple):
    """How examples are made: `number` images each, which of them `choose` says, from the order of an epoch."""

    number: int
    augmentation: Augmentation  # of each image alone
    choose: Callable[[Tensor, Tensor, Generator], Tensor]  # of places in order, all labels: N x number places
    compose: Callable[[Tensor, Tensor], Batch]  # of B x number augmented images and their labels


class Task(NamedTuple):
    """How examples are made for training, and how a network is scored on images held out."""

    require: Callable[[Tensor, str], None]  # labels, and a word for whose: raises ValueError for too few classes
    examples: Callable[..., Examples]
    validate: Callable[[CapsNet, Tensor, Tensor, Generator, ReconstructionLoss], Scores]


def single(labels: Int64[Tensor, " N"], size: int, crop: int, *, max_shift: int, **changes: Any) -> Examples:
    """Make an example of each image of `size` pixels, of which the network sees `crop`."""
    chosen = augmentation(size, crop, max_shift=max_shift, **changes)
    return Examples(1, chosen, lambda order, labels, generator: order, alone)


def anything(labels: Int64[Tensor, " N"], where: str) -> None:
    """Take labels of any number of classes."""


def alone(pixels: Float[Tensor, "B C S S"], labels: Int64[Tensor, " B"]) -> Batch:
    """Return images that are to be recognised as they are, and reconstructed as far as they can be shown."""
    return Batch(pixels, labels, pixels.clamp(0, 1))


def in_pairs(labels: Int64[Tensor, " N"], size: int, field: int, *, max_shift: int, **changes: Any) -> Examples:
    """Make an example of each image and a partner of another class, in a field that holds both wherever they go.

    Raises ValueError for a field of another size.
    """
    if field != size + 2 * max_shift:
        raise ValueError(
            f"image_size: got {field}, expected {size + 2 * max_shift}: images of {size} pixels and max_shift "
            f"{max_shift} on each side"
        )
    within = augmentation(field, field, max_shift=0, **changes)
    placing = Change("augmentation", partial(draw_shifts, pixels=max_shift), partial(place, border=max_shift))
    return Examples(2, within._replace(moves=(placing, *within.moves)), with_partners, overlaid)


def with_partners(order: Int64[Tensor, " N"], labels: Int64[Tensor, " M"], generator: Generator) -> Int64[Tensor, " Q"]:
    """Return each image of an epoch with a partner behind it that is drawn from the same epoch's images."""
    partners = order[draw_partners(labels[order], generator)]
    return torch.stack([order, partners], 1).flatten()


def overlaid(pixels: Float[Tensor, "Q C S S"], labels: Int64[Tensor, " Q"]) -> Batch:
    """Overlay every two images that follow each other; each is to be reconstructed alone."""
    digits = pixels.unflatten(0, (-1, 2))
    return Batch(overlay(digits), labels.unflatten(0, (-1, 2)), digits.clamp(0, 1))


def recognised_alone(
    model: CapsNet,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    generator: Generator,
    rloss: ReconstructionLoss,
) -> Scores:
    """Score a network on images; nothing is drawn."""
    return evaluate(model, images, labels, rloss=rloss)


def separated(
    model: CapsNet,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    generator: Generator,
    rloss: ReconstructionLoss,
) -> Scores:
    """Score a network on one pair of each image."""
    pairs = draw_pairs(labels, 1, room(model, images), generator)
    return evaluate_pairs(model, images, labels, pairs, rloss=rloss)


TASKS: dict[str, Task] = {
    "classify": Task(anything, single, recognised_alone),
    "separate": Task(require_classes, in_pairs, separated),
}
