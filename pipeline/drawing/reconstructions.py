"""Test images above what networks make of them.

Axes: N images, C channels, H W height and width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import WRONG, displayable, each_class, first_of_each_class
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from capsnet.networks.capsnet import CapsNet


class Shown(NamedTuple):
    """A row of pictures, and the class that each was taken for."""

    label: str
    images: np.ndarray
    predicted: list[int]


def reconstructions(subjects: Sequence[Subject]) -> Drawing:
    """Draw the first test image of each class, and what the first seed of each run makes of it."""
    first = subjects[0]
    chosen = first_of_each_class(first.labels)
    truth = first.labels[chosen].tolist()
    seen, rows = zip(
        *(reconstruct(subject.model, subject.label, first.test.images[chosen]) for subject in subjects), strict=True
    )
    names = [first.named(label) for label in range(first.test.manifest.classes)]
    wrong = [
        f"{row.label} takes {names[true]} for {names[taken]}"
        for row in rows
        for true, taken in zip(truth, row.predicted, strict=True)
        if true != taken
    ]
    caption = (
        f"The first test image of {each_class(first.labels)}, and what the first seed of each run makes of it. "
        + ("; ".join(wrong) if wrong else "Every one of them is recognised by each run")
        + "."
    )
    figure = draw_reconstructions(seen[0], truth, rows, names)
    return Drawing("reconstructions", "Reconstructions", caption, figure)


def reconstruct(model: "CapsNet", label: str, images: "Tensor") -> tuple[np.ndarray, Shown]:
    """Return what a network sees of uint8 images (N, C, H, W), and its reconstructions."""
    from capsnet.evaluation.recognition import recognise

    pixels, output = recognise(model, images)
    if output.reconstruction is None:
        raise ValueError(f"reconstructions: {label}: got a network without a decoder, expected one with")
    shown = Shown(label, output.reconstruction.cpu().numpy(), output.lengths.argmax(1).tolist())
    return pixels.cpu().numpy(), shown


def draw_reconstructions(
    originals: np.ndarray, labels: Sequence[int], rows: Sequence[Shown], names: Sequence[str]
) -> "Figure":
    """Draw originals (N, C, H, W) above each run's reconstructions; a wrong class is framed and named."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.62 * len(labels) + 1.3, 0.74 * (len(rows) + 1) + 0.2), layout="constrained")
    grid = figure.subplots(len(rows) + 1, len(labels), squeeze=False)
    everything = [Shown("test image", originals, list(labels)), *rows]
    for line, shown in zip(grid, everything, strict=True):
        line[0].set_ylabel(shown.label, rotation=0, ha="right", va="center", fontsize=8)
        for axes, image, predicted, truth in zip(line, shown.images, shown.predicted, labels, strict=True):
            axes.imshow(displayable(image), "gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            wrong = predicted != truth
            for spine in axes.spines.values():
                spine.set(visible=wrong, color=WRONG, linewidth=2)
            if wrong:
                axes.set_title(f"taken for {names[predicted]}", fontsize=6, color=WRONG, pad=2)
    for axes, label in zip(grid[0], labels, strict=True):
        axes.set_title(names[label], fontsize=8, pad=3)
    return figure
