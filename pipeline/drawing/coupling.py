"""The coupling of the primary capsules to the winning class, as maps over the image.

Axes: N images, C channels, H W height and width, T types, Y X rows and columns of the grid of primary capsules.
"""

from collections.abc import Sequence
from itertools import chain
from math import ceil, log10
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import PHONE, displayable, each_class, first_of_each_class
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from torch import Tensor

    from capsnet.networks.capsnet import CapsNet

COLOURMAP = "PuOr_r"
CONTRAST = 0.25  # a pixel that differs from the median of its image by more shows the object
IMAGES_ACROSS, TYPES_ACROSS = 5, 8  # images, and maps of single types, in a row
FRAME = "#E69F00"


class Mapped(NamedTuple):
    """Images and, for each, the coupling of every primary capsule to the class that won."""

    images: "Tensor"  # (N, C, H, W), values from 0 to 1
    maps: "Tensor"  # (N, T, Y, X)
    winners: "Tensor"


def coupling(subject: Subject) -> Drawing:
    """Draw the coupling to the winning class for an image of each class, and for the first test image by type."""
    model = subject.network
    even = model.config.even_share
    chosen = [0, *first_of_each_class(subject.labels)]
    shown = look(model, subject.test.images[chosen])
    parts = [measure(model, look(model, part)) for part in subject.test.images.split(256)]
    numbers = pd.concat(parts, ignore_index=True)
    caption = (
        f"Below the first test image of {each_class(subject.labels)} is the coupling inside its frame, averaged over "
        f"the types of primary capsules; at the bottom is each type, for the first test image. 1× is {even:.3g}, "
        f"{model.config.even} ({subject.label}, first seed)."
    )
    return Drawing(
        "coupling",
        "Coupling to the winning class",
        describe(numbers, model),
        caption,
        draw_coupling(model, shown, even, [subject.named(label) for label in subject.labels[chosen]]),
        numbers.drop(columns="type").groupby(subject.labels).mean().rename_axis("actual").reset_index(),
    )


def look(model: "CapsNet", images: "Tensor") -> Mapped:
    """Return the pixels that a network sees of uint8 images, and the coupling to the class that won."""
    from capsnet.evaluation.recognition import recognise
    from capsnet.explain.coupling import coupling_maps

    pixels, output = recognise(model, images, with_coupling=True, decoded=0)
    assert output.coupling is not None
    winners = output.lengths.argmax(1)
    return Mapped(pixels, coupling_maps(output.coupling, winners, model.config.layout.types), winners)


def measure(model: "CapsNet", mapped: Mapped) -> pd.DataFrame:
    """Return how the coupling of each image is spread over capsules, over object and background, and over types."""
    from capsnet.explain.coupling import at_centres, effective_number, foreground

    field, grid = model.config.layout.field, model.config.primary_grid
    shown = at_centres(foreground(mapped.images, CONTRAST).unsqueeze(1).float(), field, grid)[:, 0]
    places = mapped.maps.sum(1)
    return pd.DataFrame(
        {
            "effective": effective_number(mapped.maps.flatten(1)).cpu().numpy(),
            "on_figure": ((places * shown).sum((1, 2)) / places.sum((1, 2))).cpu().numpy(),
            "places_on_figure": shown.mean((1, 2)).cpu().numpy(),
            "strongest": mapped.maps.flatten(1).max(1).values.cpu().numpy(),
            "type": mapped.maps.sum((2, 3)).argmax(1).cpu().numpy(),
        }
    )


def describe(numbers: pd.DataFrame, model: "CapsNet") -> str:
    """Return the finding: how concentrated the coupling is, and whether it prefers the object to the background."""
    means = numbers.mean()
    spread = (
        f"On average the coupling is as concentrated as if {means['effective']:,.0f} of the "
        f"{model.config.num_primary:,} primary capsules shared it equally"
    )
    if model.config.primary_grid == 1:  # every capsule sees the whole image
        return f"{spread}."
    return (
        f"{spread}; {100 * means['on_figure']:.1f} % of it lies on the object, which covers "
        f"{100 * means['places_on_figure']:.1f} % of the map."
    )


def draw_coupling(model: "CapsNet", shown: Mapped, even: float, names: Sequence[str]) -> "Figure":
    """Draw each image except the first above its mean map, then the scale, and the maps of the first image by type."""
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    types = model.config.layout.types
    images, maps = shown.images.cpu().numpy(), np.log2(shown.maps.cpu().numpy() / even)
    means = np.log2(shown.maps.mean(1).cpu().numpy() / even)
    widest = max(float(np.abs(maps).max()), 1e-3)
    frame, norm = frame_of(model), Normalize(-widest, widest)
    across = min(types, TYPES_ACROSS)
    pairs, lines = -(-len(names[1:]) // IMAGES_ACROSS), -(-types // across)  # of rows: image and map; maps of types
    heights = (1.9 * pairs, 0.5, (0.2 + PHONE / across) * lines)
    figure = Figure(figsize=(PHONE, sum(heights)), layout="constrained")
    (above,), (middle,), (below,) = figure.subfigures(3, 1, height_ratios=heights, squeeze=False)
    grid = above.subplots(2 * pairs, IMAGES_ACROSS, squeeze=False)
    places = [*zip(grid[::2].flat, grid[1::2].flat, strict=True)]
    for axes in chain(*places[len(names) - 1 :]):
        axes.set_visible(False)
    for (upper, lower), image, mean, name in zip(places, images[1:], means[1:], names[1:], strict=False):
        _draw_image(upper, image, frame)
        drawn = _draw_map(lower, mean, image, frame, norm)
        upper.set_title(name, fontsize=8, pad=3)
    for number, axes in enumerate(below.subplots(lines, across, squeeze=False).flat):
        axes.set_visible(number < types)
        if number < types:
            _draw_map(axes, maps[0, number], images[0], frame, norm)
            axes.set_title(f"type {number}", fontsize=8, pad=2)
    ticks = np.linspace(-widest, widest, 5)
    bar = figure.colorbar(drawn, cax=middle.add_axes((0.1, 0.65, 0.8, 0.2)), ticks=ticks, orientation="horizontal")
    digits = max(2, 1 + ceil(-log10(2**widest - 1)))  # enough to distinguish the ticks
    bar.ax.set_xticklabels([f"{2.0**tick:.{digits}g}×" for tick in ticks], fontsize=8)
    return figure


def frame_of(model: "CapsNet") -> tuple[float, float]:
    """Return the interval of the image, in pixels, that a row of cells of the grid of primary capsules covers."""
    field = model.config.layout.field
    return field.centre(0) - field.step / 2, field.centre(model.config.primary_grid - 1) + field.step / 2


def _draw_image(axes: "Axes", image: np.ndarray, frame: tuple[float, float]) -> None:
    from matplotlib.patches import Rectangle

    low, high = frame
    axes.imshow(displayable(image), "gray", vmin=0, vmax=1)
    axes.add_patch(Rectangle((low, low), high - low, high - low, fill=False, edgecolor=FRAME, linewidth=1))
    axes.set(xticks=[], yticks=[])


def _draw_map(
    axes: "Axes", values: np.ndarray, image: np.ndarray, frame: tuple[float, float], norm: "Normalize"
) -> "AxesImage":
    low, high = frame
    drawn = axes.imshow(values, COLOURMAP, norm=norm, extent=(low, high, high, low))
    grey = image.mean(0)
    contrast = np.abs(grey - np.median(grey))
    if contrast.min() < CONTRAST < contrast.max():
        axes.contour(contrast, [CONTRAST], colors="black", linewidths=0.8)
    axes.set(xticks=[], yticks=[], xlim=frame, ylim=frame[::-1])
    return drawn
