"""Scores of a network on a set of images.

Axes: N images, P classes in an image, C channels, H W height and width, S side of what the network sees, J classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from capsnet.losses import ReconstructionLoss, margin_loss, presence, reconstruction_loss
from capsnet.model import CapsNet


class Scores(NamedTuple):
    """Means over the images; `rloss` is None for a network without a decoder."""

    accuracy: float  # percent of the images of which every class was recognised
    rloss: float | None  # reconstruction loss per image, decoder fed with the predicted class
    mloss: float  # margin loss per image
    confusion: Int64[Tensor, "J J"]  # images of class [row] taken for class [column], on the CPU
    lengths: Float[Tensor, "N J"]  # of each image's class capsules, on the device of the images

    @property
    def class_accuracy(self) -> float:
        """Percent of the classes in all images that were recognised: the accuracy, if an image has only one."""
        return 100 * self.confusion.diagonal().sum().item() / self.confusion.sum().item()

    @property
    def per_class_accuracy(self) -> list[float | None]:
        """Percent of the images of each class that were recognised; None for a class without images."""
        totals = self.confusion.sum(1).tolist()
        hits = self.confusion.diagonal().tolist()
        return [100 * hit / total if total else None for hit, total in zip(hits, totals, strict=True)]


def seen(model: CapsNet, images: UInt8[Tensor, "N C H W"]) -> Float[Tensor, "N C S S"]:
    """Return what `model` sees of images: values from 0 to 1, and of images larger than its own the centre.

    Raises ValueError for images smaller than its own.
    """
    size = model.config.image_size
    margins = [length - size for length in images.shape[2:]]
    if min(margins) < 0:
        raise ValueError(f"images: got {tuple(images.shape[2:])} pixels, expected at least {size} in height and width")
    top, left = (margin // 2 for margin in margins)
    return images[:, :, top : top + size, left : left + size] / 255


@torch.no_grad()
def evaluate(
    model: CapsNet,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    *,
    rloss: ReconstructionLoss = reconstruction_loss,
    batch_size: int = 256,
) -> Scores:
    """Score `model` on images and labels that lie on its device; the model's training mode is left as it was.

    Of images larger than the network's it sees the centre. `rloss` is what the score of that name means. `batch_size`
    bounds the memory; the scores do not depend on it beyond rounding.
    """
    was_training = model.training
    model.eval()
    classes = model.config.classes
    confusion = labels.new_zeros(classes * classes)
    sums = torch.zeros(2, dtype=torch.float64, device=images.device)
    lengths = []
    for batch, truth in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        pixels = seen(model, batch)
        output = model(pixels)
        confusion += torch.bincount(truth * classes + output.lengths.argmax(1), minlength=classes * classes)
        lengths.append(output.lengths)
        sums[0] += margin_loss(output.lengths, truth).sum()
        if output.reconstruction is not None:
            sums[1] += rloss(pixels, output.reconstruction).sum()
    model.train(was_training)
    mloss_mean, rloss_mean = (sums / len(images)).tolist()
    confusion = confusion.view(classes, classes).cpu()
    accuracy = 100 * confusion.diagonal().sum().item() / len(images)
    return Scores(accuracy, rloss_mean if model.decoder else None, mloss_mean, confusion, torch.cat(lengths))


def longest(lengths: Float[Tensor, "N J"], number: int) -> Int64[Tensor, "N P"]:
    """Return the classes of the `number` longest capsules of each image, the longest first."""
    return lengths.topk(number).indices


def recognised(lengths: Float[Tensor, "N J"], labels: Int64[Tensor, " N *P"]) -> Bool[Tensor, " N"]:
    """Tell of each image whether its class has the longest capsule, or all of its P classes the P longest."""
    if labels.ndim == 1:
        return lengths.argmax(1) == labels
    classes = lengths.shape[1]
    return (presence(longest(lengths, labels.shape[1]), classes) == presence(labels, classes)).all(1)


def ensemble_accuracy(lengths: Sequence[Float[Tensor, "N J"]], labels: Int64[Tensor, " N *P"]) -> float:
    """Return the percentage of images that several networks, an element of `lengths` each, recognise together.

    Their answer is argmax_j sum_n |v_nj| over the networks n; summed in double precision, it does not depend on their
    order. Sabour et al. 2017, section 7, has an ensemble of 7; that it sums is in their code (`evaluate_ensemble`).
    """
    total = torch.stack([each.double() for each in lengths]).sum(0)
    return 100 * recognised(total, labels).sum().item() / len(labels)
