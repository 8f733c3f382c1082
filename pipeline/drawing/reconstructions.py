"""Test images and their reconstructions.

Axes: N images, C channels, H W height and width.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import MOST_CLASSES, PHONE, WRONG, displayable, each_class, first_of_each_class
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from capsnet.networks.capsnet import CapsNet


SHORT = 4  # letters of a name that is no wider than a tenth of the figure


class ReconstructionRow(NamedTuple):
    """A row of images, and the predicted class of each."""

    label: str
    images: np.ndarray
    predicted: list[int]


def reconstructions(subjects: Sequence[Subject]) -> Drawing:
    """Draw the first test image of each class, and its reconstruction by the first seed of each run."""
    first = subjects[0]
    chosen = first_of_each_class(first.labels)
    truth = first.labels[chosen].tolist()
    seen, rows = zip(
        *(reconstruct(subject.network, subject.label, first.test.images[chosen]) for subject in subjects), strict=True
    )
    names = [first.named(label) for label in range(first.test.manifest.classes)]
    who = "the network" if len(rows) == 1 else f"each of the {len(rows)} networks"
    caption = (
        f"Top: the first test image of {each_class(first.labels)}. Below: what {who} (first seed) decodes from its "
        "class capsules; wrong answers have a frame."
    )
    figure = draw_reconstructions(seen[0], truth, rows, names)
    return Drawing("reconstructions", "Reconstructions", describe(truth, rows, names), caption, figure)


def describe(truth: Sequence[int], rows: Sequence[ReconstructionRow], names: Sequence[str]) -> str:
    """Return the finding: how many of the images are recognised, and the first mistake."""
    wrong = [
        f"{row.label} predicts {names[predicted]} for {names[true]}"
        for row in rows
        for true, predicted in zip(truth, row.predicted, strict=True)
        if true != predicted
    ]
    if not wrong:
        return f"{'The network recognises' if len(rows) == 1 else 'All networks recognise'} all {len(truth)} images."
    example = wrong[0] if len(wrong) == 1 else f"for example, {wrong[0]}"
    verb = "is" if len(wrong) == 1 else "are"
    return f"{len(wrong)} of {len(truth) * len(rows)} answers {verb} wrong: {example}."


def reconstruct(model: "CapsNet", label: str, images: "Tensor") -> tuple[np.ndarray, ReconstructionRow]:
    """Return the pixels that a network sees of uint8 images (N, C, H, W), and its reconstructions."""
    from capsnet.evaluation.recognition import recognise

    pixels, output = recognise(model, images)
    if output.reconstruction is None:
        raise ValueError(f"reconstructions: {label}: got a network without a decoder, expected one with")
    shown = ReconstructionRow(label, output.reconstruction.cpu().numpy(), output.lengths.argmax(1).tolist())
    return pixels.cpu().numpy(), shown


def draw_reconstructions(
    originals: np.ndarray, labels: Sequence[int], rows: Sequence[ReconstructionRow], names: Sequence[str]
) -> "Figure":
    """Draw originals (N, C, H, W) above the reconstructions of each run, under its name.

    An image that is recognised as a wrong class has a frame, and the name of that class below it.
    """
    from matplotlib.figure import Figure

    across = MOST_CLASSES if max(map(len, names)) <= SHORT else MOST_CLASSES // 2
    everything = [ReconstructionRow("", originals, list(labels)), *rows]
    high, wide, tile = len(everything), min(across, len(labels)), PHONE / across
    blocks = -(-len(labels) // across)  # each has all rows
    figure = Figure(figsize=(tile * wide, (tile + 0.24) * high * blocks), layout="constrained")
    grid = figure.subplots(high * blocks, wide, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_visible(False)
    for place, label in enumerate(labels):
        top, column = place // across * high, place % across
        for row, shown in enumerate(everything):
            axes, predicted = grid[top + row, column], shown.predicted[place]
            axes.set_visible(True)
            axes.imshow(displayable(shown.images[place]), "gray", vmin=0, vmax=1)
            axes.spines[:].set(visible=predicted != label, color=WRONG, linewidth=2)
            if column == 0:
                axes.set_title(" ", fontsize=8, pad=3)  # room for the label, which may be wider than the image
                above = axes.annotate(shown.label, (0, 1), (0, 3), "axes fraction", "offset points", fontsize=8)
                above.set_in_layout(False)
            if predicted != label:
                axes.set_xlabel(names[predicted], fontsize=8, color=WRONG, labelpad=2)
        grid[top, column].set_title(names[label], fontsize=8, pad=3)
    return figure
