"""How the shape in an image changes with a dimension of its capsule (Sabour et al. 2017, section 5.1, figure 4).

Axes: B batch, N images, C channels, H W height and width, J classes, D pose size, S steps, M measures.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from capsnet.explain.capsules import move
from capsnet.explain.shape import MEASURES, measure
from capsnet.networks.capsnet import CapsNet

BLOCK = 1024  # images measured at a time; bounds the memory and does not change the result
LEAST_SPREAD = 0.1  # pixels or degrees; a class with a smaller spread is treated as having this one


@torch.no_grad()
def perturb(
    model: CapsNet, capsules: Float[Tensor, "B J D"], classes: Int64[Tensor, " B"], offsets: Float[Tensor, " S"]
) -> Float[Tensor, "B D S C H W"]:
    """Reconstruct the capsule of `classes` with each of `offsets` added to each of its dimensions.

    Raises ValueError for a network without a decoder.
    """
    size = capsules.shape[2]
    steps = torch.einsum("de,s->dse", torch.eye(size, device=offsets.device), offsets).flatten(0, 1)
    images = []
    for capsule, label in zip(capsules.split(1), classes.split(1), strict=True):
        chosen = label.expand(len(steps))
        images.append(model.decode(move(capsule.expand(len(steps), -1, -1), chosen, steps), chosen))
    moved: Tensor = torch.stack(images).unflatten(1, (size, len(offsets)))
    return moved


def changes(
    model: CapsNet, capsules: Float[Tensor, "B J D"], classes: Int64[Tensor, " B"], reach: float
) -> Float[Tensor, "B D M"]:
    """Return how each measure changes when a dimension moves from `reach` below its value to `reach` above it."""
    ends = perturb(model, capsules, classes, capsules.new_tensor([-reach, reach]))
    measured: Tensor = measure(ends.flatten(0, 2)).unflatten(0, ends.shape[:3])
    return measured[:, :, 1] - measured[:, :, 0]


def spread(
    images: Float[Tensor, "N C H W"], labels: Int64[Tensor, " N"], classes: int, shifts: Sequence[int]
) -> Float[Tensor, "J M"]:
    """Return the standard deviation of each measure over the images of each class, at least `LEAST_SPREAD`.

    Each of `shifts` adds to the variance of positions: training moves images by whole pixels from -s to s. A class
    without images is treated like a class with a single image, which has no spread of its own.
    """
    measured = torch.cat([measure(block) for block in images.split(BLOCK)])
    variances = measured.new_zeros(classes, len(MEASURES))
    for label in labels.unique().tolist():
        variances[label] = measured[labels == label].var(0, correction=0)
    # The variance of a whole number that is uniform from -s to s is s (s + 1) / 3.
    variances[:, [name.endswith("position") for name in MEASURES]] += sum(s * (s + 1) / 3 for s in shifts)
    return variances.sqrt().clamp(min=LEAST_SPREAD)
