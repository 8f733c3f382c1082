"""Class capsules: computing them for many images, and moving them along a dimension.

Axes: B batch, C channels, H W height and width, J classes, D pose size.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from capsnet.evaluation.recognition import recognise
from capsnet.networks.capsnet import CapsNet, mask


def class_capsules(model: CapsNet, images: UInt8[Tensor, "B C H W"], batch_size: int = 256) -> Float[Tensor, "B J D"]:
    """Return the class capsules of images, computed `batch_size` images at a time."""
    return torch.cat([recognise(model, batch, decoded=0).output.capsules for batch in images.split(batch_size)])


def move(
    capsules: Float[Tensor, "B J D"], classes: Int[Tensor, " B"], offsets: Float[Tensor, "B D"]
) -> Float[Tensor, "B J D"]:
    """Add `offsets` to the capsule of each image's class, as Sabour et al. 2017, figure 4, do for one dimension."""
    return capsules + mask(offsets.unsqueeze(1).expand_as(capsules), classes)
