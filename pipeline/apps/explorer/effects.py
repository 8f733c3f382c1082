"""The names of the explorer's sliders: what each number of a class capsule changes most.

Axes: N images, C channels, H W height and width.
"""

import torch
from jaxtyping import UInt8
from torch import Tensor

from capsnet.networks.capsnet import CapsNet
from pipeline.apps.shape_words import ends, shape_changes, spread_of_shapes
from pipeline.drawing.perturbation import NAMEABLE

LITTLE = "little effect"


def effects(
    model: CapsNet, images: UInt8[Tensor, "N C H W"], label: int, reach: float, max_shift: int, tried: int
) -> list[str]:
    """Return what each dimension of the capsule of class `label` changes most when it goes from -reach to reach.

    Args:
        model: A network with a decoder.
        images: Images of the class.
        label: The class.
        reach: How far a dimension is moved to each side.
        max_shift: By how many pixels training shifted images; a shape that moves less is not named after that.
        tried: The number of images whose capsules are moved; their mean change counts.
    """
    spreads = spread_of_shapes(model, images, torch.zeros(len(images), dtype=torch.int64), 1, max_shift)[0]
    names = []
    for row in shape_changes(model, images[:tried], label, spreads, reach).deviations:
        best = int(row.abs().argmax())
        names.append(" → ".join(ends(best, float(row[best]))) if abs(row[best]) >= NAMEABLE else LITTLE)
    return names
