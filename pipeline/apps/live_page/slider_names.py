"""What each number of a class capsule does to the shape that the decoder draws, measured and put into words.

Axes: N images, C channels, H height and width, M measures.
"""

from typing import TypedDict

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from capsnet.explain.shape import MEASURES
from capsnet.networks.capsnet import CapsNet
from pipeline.apps.shape_words import ends, shape_changes, spread_of_shapes
from pipeline.drawing.perturbation import NAMEABLE

IMAGES = 10  # of each class; a name is that of their mean change
ALSO = 0.6  # of the strongest effect: from here on a second one is named, too


class Slider(TypedDict):
    """One number of a class capsule; without a name it changes the shape little."""

    dimension: int
    name: str
    low: str  # what the digit becomes at the left end
    high: str  # and at the right end
    change: float  # of the measure named first, from the left end to the right
    unit: str
    strength: float  # that change in standard deviations, without its sign


def name_sliders(
    model: CapsNet, images: UInt8[Tensor, "N C H H"], labels: Int64[Tensor, " N"], max_shift: int, reach: float
) -> list[list[Slider]]:
    """Return the sliders of each class, the one with the strongest effect first.

    Args:
        model: A network with a decoder.
        images: Images that the network was not trained on.
        labels: Their classes.
        max_shift: By how many pixels the training images were shifted, in each direction.
        reach: How far a slider moves its number, in each direction.
    """
    classes = model.config.classes
    spreads = spread_of_shapes(model, images, labels, classes, max_shift)
    named = []
    for label in range(classes):
        chosen = torch.nonzero(labels == label).flatten()[:IMAGES]
        if not len(chosen):
            raise ValueError(f"images: got none of class {label}, expected at least one of each")
        named.append(in_words(*shape_changes(model, images[chosen], label, spreads[label], reach)))
    return named


def in_words(change: Float[Tensor, "D M"], deviations: Float[Tensor, "D M"]) -> list[Slider]:
    """Return the sliders of one class from the mean change of each measure, also in standard deviations."""
    sliders = []
    measures = list(MEASURES)
    for dimension, (values, strengths) in enumerate(zip(change, deviations.abs(), strict=True)):
        first, second = strengths.topk(2).indices.tolist()
        strength = float(strengths[first])
        named = [first, second] if strengths[second] >= max(NAMEABLE, ALSO * strength) else [first]
        if strength < NAMEABLE:
            named = []
        words = [ends(each, float(values[each])) for each in named]
        sliders.append(
            Slider(
                dimension=dimension,
                name=" and ".join(measures[each] for each in named),
                low=", ".join(low for low, _ in words),
                high=", ".join(high for _, high in words),
                change=float(values[first]),
                unit=MEASURES[measures[first]],
                strength=strength,
            )
        )
    return sorted(sliders, key=lambda slider: -slider["strength"])
