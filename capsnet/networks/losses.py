"""Losses of each image of a batch; the caller averages them.

Axes: B batch, P classes in an image, J classes, C channels, H W height and width.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def margin_loss(lengths: Float[Tensor, "B J"], labels: Int[Tensor, " B *P"]) -> Float[Tensor, " B"]:
    """Sum over the classes of T max(0, 0.9 - |v|)^2 + 0.5 (1 - T) max(0, |v| - 0.1)^2.

    T is 1 for a class that is in the image and 0 for the others (Sabour et al. 2017, equation 4). Labels count from 0.
    They are not checked to be below J, because Python would have to wait for the device.
    """
    present = (0.9 - lengths).clamp(min=0).square()
    absent = 0.5 * (lengths - 0.1).clamp(min=0).square()
    return torch.where(presence(labels, lengths.shape[1]), present, absent).sum(1)


def presence(labels: Int[Tensor, " B *P"], classes: int) -> Bool[Tensor, "B J"]:
    """Return for each image and class whether a label of the image names the class."""
    named = labels.reshape(len(labels), -1, 1) == torch.arange(classes, device=labels.device)
    return named.any(1)


def reconstruction_loss(
    images: Float[Tensor, "B *P C H W"], reconstruction: Float[Tensor, "B *P C H W"]
) -> Float[Tensor, " B"]:
    """Squared error summed over channels and pixels, both images in [0, 1] (Sabour et al. 2017, section 4.1).

    If several images are reconstructed from one, their errors are summed.
    """
    return (reconstruction - images).square().sum(_all_but_first(images))


def absolute_error(
    images: Float[Tensor, "B *P C H W"], reconstruction: Float[Tensor, "B *P C H W"]
) -> Float[Tensor, " B"]:
    """Absolute error summed over channels and pixels, both images in [0, 1]: the reference study's L1 option."""
    return (reconstruction - images).abs().sum(_all_but_first(images))


def _all_but_first(images: Tensor) -> tuple[int, ...]:
    return tuple(range(1, images.ndim))


ReconstructionLoss = Callable[[Tensor, Tensor], Tensor]

RECONSTRUCTION_LOSSES: dict[str, ReconstructionLoss] = {"l2": reconstruction_loss, "l1": absolute_error}
