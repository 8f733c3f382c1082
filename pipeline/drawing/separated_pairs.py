"""Pairs of overlapping test images, and how a network separates them (after Sabour et al. 2017, figure 5).

Axes: N pairs, P the two images of a pair, C channels, S side of the field.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLOURS, PHONE, WRONG
from pipeline.drawing.subject import Subject, with_decoder
from pipeline.drawing.words import listed
from pipeline.settings.sections import Pairing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from capsnet.explain.separated_pairs import ExplainedPairs

LOOKED_AT = 1024  # test pairs that are separated; the figure shows some of them
BLOCK = 256
RIGHT, NOT_RIGHT = 5, 3
FIRST, SECOND = COLOURS[5], COLOURS[4]


def pairs(subject: Subject, pairing: Pairing) -> Drawing:
    """Draw the first test pairs that the first seed of a run recognises, and the first that it does not."""
    seen = first_pairs(subject, pairing)
    numbers = table(seen)
    right, not_right = numbers.index[numbers["right"]], numbers.index[~numbers["right"]]
    chosen = [*right[:RIGHT], *not_right[:NOT_RIGHT]]
    light, absent = numbers["light"].mean(), numbers["light_absent"].mean()
    share = 100 * numbers["right"].mean()
    finding = (
        f"The first seed of {subject.run} recognises both classes in {share:.2f} % of the first {len(numbers):,} "
        "test pairs."
    )
    groups = [
        f"the first {len(members)} pairs {what}"
        for members, what in (
            (right[:RIGHT], "whose classes are both recognised"),
            (not_right[:NOT_RIGHT], "with a mistake"),
        )
        if len(members)
    ]
    caption = (
        f"{listed(groups).capitalize()}, with the reconstructions of the two predicted classes, together and alone. "
        "The last row reconstructs a class that is not in the pair: on average it is "
        f"{100 * absent / light:.0f} % as bright as a predicted class."
    )
    names = [subject.named(label) for label in range(subject.test.manifest.classes)]
    figure = draw_pairs(seen, chosen, names)
    return Drawing("pairs", "Two overlapping images, separated", finding, caption, figure, numbers.loc[chosen])


def first_pairs(subject: Subject, pairing: Pairing) -> "ExplainedPairs":
    """Separate the first test pairs with the first seed of a run, and return the result on the CPU."""
    import torch

    from capsnet.data.pairs import Pairs
    from capsnet.evaluation.separation import fixed_pairs
    from capsnet.explain.separated_pairs import ExplainedPairs, explain_pairs

    model, images, labels = with_decoder(subject, "pairs"), subject.test.images, subject.test.labels
    places, shifts = fixed_pairs(model, images, labels, **pairing.model_dump())
    blocks = zip(places[:LOOKED_AT].split(BLOCK), shifts[:, :LOOKED_AT].split(BLOCK, 1), strict=True)
    seen = [explain_pairs(model, images, labels, Pairs(*block)) for block in blocks]
    return ExplainedPairs(*(torch.cat(parts).cpu() for parts in zip(*seen, strict=True)))


def table(seen: "ExplainedPairs") -> pd.DataFrame:
    """Return a row for each pair: true, predicted and absent classes, capsule lengths, and brightness of each image."""
    columns = {
        **{f"true_{n}": seen.truth[:, n - 1] for n in (1, 2)},
        **{f"predicted_{n}": seen.predicted[:, n - 1] for n in (1, 2)},
        "absent": seen.absent,
        "right": (seen.truth == seen.predicted).all(1),
        "length": seen.lengths.gather(1, seen.predicted).mean(1),
        "length_absent": seen.lengths.gather(1, seen.absent.unsqueeze(1))[:, 0],
        "light": seen.reconstructions.flatten(2).sum(2).mean(1),
        "light_absent": seen.forced.flatten(1).sum(1),
    }
    numbers = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    return numbers.rename_axis("pair").reset_index()


def draw_pairs(seen: "ExplainedPairs", chosen: list[int], names: list[str]) -> "Figure":
    """Draw a column for each pair: the overlaid images, both images and both reconstructions in colour, each class."""
    from matplotlib.figure import Figure

    pixels, digits, reconstructions, forced = (
        images[chosen].numpy().mean(-3) for images in (seen.pixels, seen.digits, seen.reconstructions, seen.forced)
    )
    rows = {
        "pair": grey(pixels),
        "its two\nimages": in_colours(digits[:, 0], digits[:, 1]),
        "reconstructed": in_colours(reconstructions[:, 0], reconstructions[:, 1]),
        "first\nalone": in_colours(reconstructions[:, 0], 0 * pixels),
        "second\nalone": in_colours(0 * pixels, reconstructions[:, 1]),
        "an absent\nclass": grey(forced),
    }
    figure = Figure(figsize=(PHONE, PHONE * (len(rows) + 1) / (len(chosen) + 1.6)), layout="constrained")
    together = " + " if max(map(len, names)) == 1 else " +\n"
    grid = figure.subplots(len(rows), len(chosen), squeeze=False)
    for line, (label, images) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image, vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    for place, pair in enumerate(chosen):
        truth, predicted = ([names[label] for label in side[pair]] for side in (seen.truth, seen.predicted))
        wrong = truth != predicted
        grid[0, place].set_title(together.join(truth), fontsize=8, pad=3)
        grid[2, place].set_title(together.join(predicted), fontsize=8, pad=3, color=WRONG if wrong else "black")
        grid[5, place].set_title(names[seen.absent[pair]], fontsize=8, pad=3)
    return figure


def grey(images: np.ndarray) -> np.ndarray:
    """Return images (N, S, S) with three equal channels."""
    return np.repeat(images[..., None], 3, -1)


def in_colours(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the sum of two images (N, S, S), each in its own colour on black."""
    from matplotlib.colors import to_rgb

    light = first[..., None] * np.array(to_rgb(FIRST)) + second[..., None] * np.array(to_rgb(SECOND))
    clipped: np.ndarray = light.clip(0, 1)
    return clipped
