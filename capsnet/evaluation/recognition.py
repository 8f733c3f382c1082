"""Running a network on images of a data set, and its scores on many of them.

Axes: N images, B batch, P classes in an image, C channels, H W height and width, S side of what the network sees,
J classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from capsnet.networks.capsnet import CapsNet, Output
from capsnet.networks.losses import ReconstructionLoss, margin_loss, presence, reconstruction_loss


class Scores(NamedTuple):
    """Means over the images; `rloss` is None for a network without a decoder."""

    accuracy: float  # percent of images; an image counts if all its classes were recognised
    rloss: float | None  # reconstruction loss per image, decoder fed with the predicted class
    mloss: float  # margin loss per image
    confusion: Int64[Tensor, "J J"]  # number of images of class [row] that were taken for class [column], on the CPU
    lengths: Float[Tensor, "N J"]  # of each image's class capsules, on the device of the images

    @property
    def class_accuracy(self) -> float:
        """Percent of the classes in all images that were recognised; the accuracy if each image has one class."""
        return 100 * self.confusion.diagonal().sum().item() / self.confusion.sum().item()

    @property
    def per_class_accuracy(self) -> list[float | None]:
        """Percent of the images of each class that were recognised; None for a class without images."""
        totals = self.confusion.sum(1).tolist()
        hits = self.confusion.diagonal().tolist()
        return [100 * hit / total if total else None for hit, total in zip(hits, totals, strict=True)]


def seen(model: CapsNet, images: UInt8[Tensor, "N C H W"]) -> Float[Tensor, "N C S S"]:
    """Return what a network sees of images: their centre of its own size, with values from 0 to 1.

    Raises ValueError for images smaller than its own size.
    """
    size = model.config.image_size
    margins = [length - size for length in images.shape[2:]]
    if min(margins) < 0:
        raise ValueError(f"images: got {tuple(images.shape[2:])} pixels, expected at least {size} in height and width")
    top, left = (margin // 2 for margin in margins)
    return images[:, :, top : top + size, left : left + size] / 255


class Recognition(NamedTuple):
    """What a network sees of images, and its output."""

    pixels: Float[Tensor, "B C S S"]
    output: Output


def recognise(
    model: CapsNet, images: UInt8[Tensor, "B C H W"], *, with_coupling: bool = False, decoded: int | None = None
) -> Recognition:
    """Run a network on images of a data set, in evaluation mode and without gradients.

    The mode of the network is the same afterwards as before. Images larger than the network's are cropped to their
    centre. With `decoded`, only so many of the images are reconstructed.
    """
    pixels = seen(model, images)
    with evaluating(model):
        return Recognition(pixels, model(pixels, with_coupling=with_coupling, decoded=decoded))


class Tally:
    """Adds up the scores of a network over batches; sums stay on the device until the end."""

    def __init__(self, model: CapsNet, device: torch.device) -> None:
        self.decodes = model.decoder is not None
        self.confusion = torch.zeros(model.config.classes, model.config.classes, dtype=torch.int64, device=device)
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.lengths: list[Tensor] = []

    def add(
        self,
        lengths: Float[Tensor, "B J"],
        labels: Int64[Tensor, " B *P"],
        predicted: Int64[Tensor, " B *P"],
        rloss: Float[Tensor, " B"] | None,
    ) -> None:
        """Add a batch; `predicted` is in the order of `labels`, and `rloss` is None without a decoder."""
        cells = (labels * lengths.shape[1] + predicted).flatten()
        self.confusion.view(-1).scatter_add_(0, cells, torch.ones_like(cells))
        mloss = margin_loss(lengths, labels)
        errors = torch.zeros_like(mloss) if rloss is None else rloss
        self.sums += torch.stack([correct(lengths, labels).sum(), mloss.sum(), errors.sum()])
        self.lengths.append(lengths)

    def scores(self) -> Scores:
        """Return the means over all images added."""
        lengths = torch.cat(self.lengths)
        number = len(lengths)
        hits, mloss, rloss = self.sums.tolist()
        mean_rloss = rloss / number if self.decodes else None
        return Scores(100 * hits / number, mean_rloss, mloss / number, self.confusion.cpu(), lengths)


@contextmanager
def evaluating(model: CapsNet) -> Iterator[None]:
    """Put a network into evaluation mode, without gradients, for the block; then restore its mode."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def evaluate(
    model: CapsNet,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    *,
    rloss: ReconstructionLoss = reconstruction_loss,
    batch_size: int = 256,
) -> Scores:
    """Score a network on images and labels, which must lie on its device; its mode is the same afterwards as before.

    Images larger than the network's are cropped to their centre. `rloss` is the loss that the score of that name
    averages. `batch_size` bounds the memory; the scores depend on it only up to rounding.
    """
    tally = Tally(model, images.device)
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        pixels, output = recognise(model, batch)
        errors = None if output.reconstruction is None else rloss(pixels, output.reconstruction)
        tally.add(output.lengths, truth, output.lengths.argmax(1), errors)
    return tally.scores()


def longest(lengths: Float[Tensor, "N J"], number: int) -> Int64[Tensor, "N P"]:
    """Return the classes of the `number` longest capsules of each image, the longest first."""
    return lengths.topk(number).indices


def correct(lengths: Float[Tensor, "N J"], labels: Int64[Tensor, " N *P"]) -> Bool[Tensor, " N"]:
    """Return for each image whether its class has the longest capsule, or its P classes have the P longest."""
    if labels.ndim == 1:
        return lengths.argmax(1) == labels
    classes = lengths.shape[1]
    return (presence(longest(lengths, labels.shape[1]), classes) == presence(labels, classes)).all(1)


def ensemble_accuracy(lengths: Sequence[Float[Tensor, "N J"]], labels: Int64[Tensor, " N *P"]) -> float:
    """Return the percentage of images that several networks recognise together.

    `lengths` has one element for each network n. The answer is argmax_j sum_n |v_nj|. The sum is in double precision,
    so that it does not depend on the order of the networks. Sabour et al. 2017, section 7, use an ensemble of 7; their
    code (`evaluate_ensemble`) sums the lengths.
    """
    total = torch.stack([each.double() for each in lengths]).sum(0)
    return 100 * correct(total, labels).sum().item() / len(labels)
