"""What each number of a class capsule does to the shape, measured and in words: the names of sliders in every program.

Axes: N images, C channels, H W height and width, J classes, D pose size, M measures.
"""

from typing import TYPE_CHECKING, NamedTuple

from jaxtyping import Float, Int64, UInt8

if TYPE_CHECKING:
    from torch import Tensor

    from capsnet.networks.capsnet import CapsNet

# What a shape becomes when a measure falls, and when it grows, in the order of capsnet.explain.shape.MEASURES.
WORDS = {
    "ink": ("less ink", "more ink"),
    "width": ("narrower", "wider"),
    "height": ("shorter", "taller"),
    "slant": ("leans left", "leans right"),
    "thickness": ("thinner", "thicker"),
    "x position": ("moves left", "moves right"),
    "y position": ("moves down", "moves up"),
}


class ShapeChanges(NamedTuple):
    """How each measure changes when a dimension of a capsule goes from one end of its slider to the other."""

    change: 'Float[Tensor, "D M"]'
    deviations: 'Float[Tensor, "D M"]'  # the change in standard deviations of the class


def spread_of_shapes(
    model: "CapsNet",
    images: 'UInt8[Tensor, "N C H W"]',
    labels: 'Int64[Tensor, " N"]',
    classes: int,
    max_shift: int,
) -> 'Float[Tensor, "J M"]':
    """Return the standard deviation of each measure over the images of each class, shifted and cropped as in training.

    Args:
        model: The network that sees the images.
        images: Images of the data set.
        labels: Their classes, from 0 to `classes` - 1.
        classes: The number of classes.
        max_shift: By how many pixels the training images were shifted, in each direction.
    """
    import torch

    from capsnet.evaluation.recognition import seen
    from capsnet.explain.perturbation import spread

    crop = (images.shape[2] - model.config.image_size) // 2
    with torch.no_grad():
        return spread(seen(model, images), labels, classes, (max_shift, crop))


def shape_changes(
    model: "CapsNet", images: 'UInt8[Tensor, "N C H W"]', label: int, spreads: 'Float[Tensor, " M"]', reach: float
) -> ShapeChanges:
    """Return the mean change over some images of class `label`, from `reach` below each number to `reach` above it.

    Args:
        model: A network with a decoder.
        images: Images of the class.
        label: The class.
        spreads: The standard deviation of each measure in the class.
        reach: How far a slider moves its number, in each direction.
    """
    import torch

    from capsnet.evaluation.recognition import recognise
    from capsnet.explain.perturbation import changes

    capsules = recognise(model, images, decoded=0).output.capsules
    change = changes(model, capsules, torch.full((len(images),), label), reach).mean(0)
    return ShapeChanges(change, change / spreads)


def ends(measure: int, change: float) -> tuple[str, str]:
    """Return the words at both ends of a slider, from left to right.

    Args:
        measure: The place of the measure in `WORDS`.
        change: How much the measure grows from the left end to the right one.
    """
    low, high = list(WORDS.values())[measure]
    return (low, high) if change > 0 else (high, low)
