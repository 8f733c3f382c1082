"""The tasks of a network: to recognise the one class of an image, or to separate two images that overlap.

A task says how many images make an example, which images those are, how they are put together, and how progress is
measured. The rest of a training is the same for all tasks: labels are (B) for one class per image and (B, P) for
several, and losses, decoder and scores accept either.

Axes: N images or examples, B batch, P images of an example, Q all images of N or B examples, C channels, S side of what
the network sees.
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Generator, Tensor

from capsnet.data.augmentation import Augmentation, Change, augmentation, draw_shifts
from capsnet.data.pairs import draw_pairs, draw_partners, overlay, place_in_field
from capsnet.evaluation.recognition import Scores, evaluate
from capsnet.evaluation.separation import evaluate_pairs, largest_shift
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.losses import ReconstructionLoss
from capsnet.training.training_config import TrainingConfig


class Batch(NamedTuple):
    """What a step trains on: images, the classes in each, and the images that the decoder is to reconstruct."""

    pixels: Float[Tensor, "B C S S"]
    labels: Int64[Tensor, " B *P"]
    targets: Float[Tensor, "B *P C S S"]


class Task(ABC):
    """How examples are made from images of `size` pixels, for a network that sees `visible` pixels."""

    images_per_example: ClassVar[int]
    needs_two_classes: ClassVar[bool]  # among the images to train on, and among those held out
    augmentation: Augmentation  # of each image alone

    @abstractmethod
    def __init__(self, config: TrainingConfig, size: int, visible: int) -> None: ...

    @abstractmethod
    def choose(
        self, order: Int64[Tensor, " N"], labels: Int64[Tensor, " M"], generator: Generator
    ) -> Int64[Tensor, " Q"]:
        """Return the places of the images of each example of an epoch, given the epoch's images in order."""

    @abstractmethod
    def compose(self, pixels: Float[Tensor, "Q C S S"], labels: Int64[Tensor, " Q"]) -> Batch:
        """Make a batch of augmented images and their labels. The images of an example follow each other."""

    @staticmethod
    @abstractmethod
    def validate(
        model: CapsNet,
        images: UInt8[Tensor, "N C H W"],
        labels: Int64[Tensor, " N"],
        generator: Generator,
        rloss: ReconstructionLoss,
    ) -> Scores:
        """Score a network on images that were held out."""


class Classification(Task):
    """Recognise the one class of an image: each image is an example."""

    images_per_example = 1
    needs_two_classes = False

    def __init__(self, config: TrainingConfig, size: int, visible: int) -> None:
        self.augmentation = _augmentation(config, size, visible, config.max_shift)

    def choose(
        self, order: Int64[Tensor, " N"], labels: Int64[Tensor, " M"], generator: Generator
    ) -> Int64[Tensor, " Q"]:
        """Return the images in order."""
        return order

    def compose(self, pixels: Float[Tensor, "Q C S S"], labels: Int64[Tensor, " Q"]) -> Batch:
        """Return the images as they are; what the decoder is to reconstruct is clipped to values from 0 to 1."""
        return Batch(pixels, labels, pixels.clamp(0, 1))

    @staticmethod
    def validate(
        model: CapsNet,
        images: UInt8[Tensor, "N C H W"],
        labels: Int64[Tensor, " N"],
        generator: Generator,
        rloss: ReconstructionLoss,
    ) -> Scores:
        """Score a network on each image; nothing is drawn at random."""
        return evaluate(model, images, labels, rloss=rloss)


class Separation(Task):
    """Separate two images of different classes that overlap: each image, with a partner, is an example."""

    images_per_example = 2
    needs_two_classes = True

    def __init__(self, config: TrainingConfig, size: int, visible: int) -> None:
        """Raise ValueError unless the network sees a field that holds both images wherever they are shifted."""
        if visible != size + 2 * config.max_shift:
            raise ValueError(
                f"image_size: got {visible}, expected {size + 2 * config.max_shift}: images of {size} pixels and "
                f"max_shift {config.max_shift} on each side"
            )
        placing = Change(
            "augmentation",
            partial(draw_shifts, pixels=config.max_shift),
            partial(place_in_field, border=config.max_shift),
        )
        within = _augmentation(config, visible, visible, max_shift=0)
        self.augmentation = within._replace(moves=(placing, *within.moves))

    def choose(
        self, order: Int64[Tensor, " N"], labels: Int64[Tensor, " M"], generator: Generator
    ) -> Int64[Tensor, " Q"]:
        """Return each image of the epoch, followed by a partner of another class drawn from the same epoch."""
        partners = order[draw_partners(labels[order], generator)]
        return torch.stack([order, partners], 1).flatten()

    def compose(self, pixels: Float[Tensor, "Q C S S"], labels: Int64[Tensor, " Q"]) -> Batch:
        """Overlay each image and its partner, which follows it; the decoder is to reconstruct each of the two alone."""
        digits = pixels.unflatten(0, (-1, 2))
        return Batch(overlay(digits), labels.unflatten(0, (-1, 2)), digits.clamp(0, 1))

    @staticmethod
    def validate(
        model: CapsNet,
        images: UInt8[Tensor, "N C H W"],
        labels: Int64[Tensor, " N"],
        generator: Generator,
        rloss: ReconstructionLoss,
    ) -> Scores:
        """Score a network on one pair for each image."""
        pairs = draw_pairs(labels, 1, largest_shift(model, images), generator)
        return evaluate_pairs(model, images, labels, pairs, rloss=rloss)


TASKS: dict[str, type[Task]] = {"classify": Classification, "separate": Separation}


def _augmentation(config: TrainingConfig, size: int, crop: int, max_shift: int) -> Augmentation:
    return augmentation(
        size,
        crop,
        max_shift=max_shift,
        flip=config.flip,
        rotation=config.rotation,
        rotation_share=config.rotation_share,
        squeeze=config.squeeze,
        scale=config.scale,
        erase=config.erase,
        brightness=config.brightness,
        brightness_change=config.brightness_change,
        contrast=config.contrast,
        clip_pixels=config.clip_pixels,
    )
