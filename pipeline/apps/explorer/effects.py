"""What each number of a class capsule does to the shape, in words: the names of the sliders.

Axes: N images, C channels, H size that the network sees.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from capsnet.evaluation.recognition import recognise
from capsnet.explain.perturbation import changes, spread
from capsnet.networks.capsnet import CapsNet
from pipeline.apps.shape_words import NAMEABLE, ends

LITTLE = "little effect"


def effects(
    model: CapsNet,
    images: Float[Tensor, "N C H H"],
    label: int,
    reach: float,
    shifts: Sequence[int],
    tried: int,
) -> list[str]:
    """Return what each dimension of the capsule of class `label` changes most when it goes from -reach to reach.

    Args:
        model: A network with a decoder.
        images: Images of the class, with values from 0 to 1.
        label: The class.
        reach: How far a dimension is moved to each side.
        shifts: By how many pixels training moved images; a shape that moves less is not named after that.
        tried: The number of images whose capsules are moved; their mean change counts.
    """
    labels = torch.zeros(len(images), dtype=torch.int64)
    deviation = spread(images, labels, 1, shifts)[0]
    shown = (images[:tried] * 255).round().to(torch.uint8)
    capsules = recognise(model, shown, decoded=0).output.capsules
    change = changes(model, capsules, torch.full((len(capsules),), label), reach).mean(0) / deviation
    names = []
    for row in change:
        best = int(row.abs().argmax())
        names.append(" → ".join(ends(best, float(row[best]))) if abs(row[best]) >= NAMEABLE else LITTLE)
    return names
