"""What single primary capsules have to say: images decoded from one of them, and from one after the other.

Axes: I primary capsules, K their pose size, C channels, H W height and width.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import PAGE, WRONG, displayable
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from capsnet.explain.primary import PrimaryDecoder, Routed
    from capsnet.networks.capsnet import CapsNet, NetworkConfig

ROWS = 6
STEPS = 5  # from nothing to a capsule's own coefficient


def primary(subject: Subject) -> Drawing:
    """Draw what the strongest primary capsules of the first test image give alone, their coefficient rising."""
    from capsnet.evaluation.recognition import seen
    from capsnet.explain.primary import route

    model, decoder = subject.model, subject.primary_decoder
    image = subject.test.images[:1]
    routed = route(model, image)
    numbers = strongest(routed, model.config)
    alone, together = decode(decoder, routed, numbers["capsule"].tolist()[:ROWS])
    name = subject.named(int(routed.classes[0]))
    caption = told(subject, model, decoder, numbers, name)
    figure = draw_primary(seen(model, image)[0].cpu().numpy(), alone, together, numbers.head(ROWS), model.config)
    return Drawing("primary", "What primary capsules say", caption, figure, numbers)


def strongest(routed: "Routed", config: "NetworkConfig") -> pd.DataFrame:
    """Return the primary capsules of one image, strongest first: coupling to the winning class times length."""
    from capsnet.explain.coupling import place

    table = pd.DataFrame(
        [place(config, capsule) for capsule in range(routed.coupling.shape[1])], columns=["type", "row", "column"]
    )
    table.insert(0, "capsule", table.index)
    table["coupling"] = routed.coupling[0].cpu().numpy()
    table["length"] = routed.primary[0].norm(dim=1).cpu().numpy()
    table["strength"] = routed.strength[0].cpu().numpy()
    return table.sort_values("strength", ascending=False, kind="stable").reset_index(drop=True)


def decode(decoder: "PrimaryDecoder", routed: "Routed", capsules: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows, STEPS, C, H, W) of each capsule alone, its coefficient rising, and (rows, ...) of the first few."""
    import torch

    scaled = routed.scaled[0]
    alone = scaled.new_zeros(len(capsules), STEPS, *scaled.shape)
    together = scaled.new_zeros(len(capsules), *scaled.shape)
    for row, capsule in enumerate(capsules):
        alone[row, :, capsule] = torch.linspace(0, 1, STEPS, device=scaled.device).unsqueeze(1) * scaled[capsule]
        together[row, capsules[: row + 1]] = scaled[capsules[: row + 1]]
    with torch.no_grad():
        images = decoder(alone.flatten(0, 1)).unflatten(0, alone.shape[:2])
        return images.cpu().numpy(), decoder(together).cpu().numpy()


def told(subject: Subject, model: "CapsNet", decoder: "PrimaryDecoder", numbers: pd.DataFrame, name: str) -> str:
    """Say how the rows were chosen, and how good images of the strongest few capsules are over all test images."""
    counts = [count for count in (0, 1, 2, 4, 16, 64, 256) if count < len(numbers)] + [len(numbers)]
    errors = rloss_of_strongest(model, decoder, subject.test.images, counts)
    best = numbers.iloc[0]
    listed = ", ".join(f"{error:.1f} from {count}" for count, error in zip(counts, errors, strict=True))
    return (
        f"Images decoded from primary capsules, each scaled by its coupling to the winning class ({name}), by a "
        "decoder trained beside the frozen network (first seed). Rows: the first test image's "
        f"{min(ROWS, len(numbers))} strongest of {len(numbers)} capsules by coupling times length; the strongest has a "
        f"coupling of {best['coupling']:.2f} and a length of {best['length']:.2f}. From left to right: where it looks; "
        "its coefficient rising from 0 to its own, all other capsules zeroed; it and those above it together. Squared "
        f"error summed over an image, mean of {len(subject.labels)} test images: {listed} of their strongest capsules."
    )


def rloss_of_strongest(model: "CapsNet", decoder: "PrimaryDecoder", images: "Tensor", counts: list[int]) -> list[float]:
    """Return the mean squared error, summed over an image, of images decoded from the `counts` strongest capsules."""
    import torch

    from capsnet.evaluation.recognition import seen
    from capsnet.explain.primary import route
    from capsnet.networks.losses import reconstruction_loss

    totals = torch.zeros(len(counts), dtype=torch.float64)
    for part in images.split(256):
        routed = route(model, part)
        ranks = routed.strength.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        for number, count in enumerate(counts):
            with torch.no_grad():
                decoded = decoder(routed.scaled * (ranks < count).unsqueeze(2))
            totals[number] += reconstruction_loss(seen(model, part), decoded).sum().item()
    means: list[float] = (totals / len(images)).tolist()
    return means


def draw_primary(
    image: np.ndarray, alone: np.ndarray, together: np.ndarray, rows: pd.DataFrame, config: "NetworkConfig"
) -> "Figure":
    """Draw a row a capsule: where it looks, its images alone, and the images of all capsules down to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 0.86 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), STEPS + 2, squeeze=False)
    for line, images, all_so_far, (_, capsule) in zip(grid, alone, together, rows.iterrows(), strict=True):
        _draw_where(line[0], image, capsule, config)
        for axes, decoded in zip(line[1:], [*images, all_so_far], strict=True):
            axes.imshow(displayable(decoded), "gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(
            f"type {capsule['type']:.0f}\nrow {capsule['row']:.0f}, column {capsule['column']:.0f}\n"
            f"coupling {capsule['coupling']:.2f}",
            rotation=0,
            ha="right",
            va="center",
            fontsize=7,
        )
    shares = (f"alone, {share:g} of it" for share in np.linspace(0, 1, STEPS))
    titles = ["where it looks", *shares, "with those above"]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=7, pad=3)
    return figure


def _draw_where(axes: "Axes", image: np.ndarray, capsule: "pd.Series[float]", config: "NetworkConfig") -> None:
    from matplotlib.patches import Rectangle

    from capsnet.explain.coupling import receptive_field

    field = receptive_field(config)
    left, top = (field.start + field.step * capsule[axis] - 0.5 for axis in ("column", "row"))
    axes.imshow(displayable(image), "gray", vmin=0, vmax=1)
    axes.add_patch(Rectangle((left, top), field.size, field.size, fill=False, edgecolor=WRONG, linewidth=1.2))
    ends = (-0.5, config.image_size - 0.5)
    axes.set(xticks=[], yticks=[], xlim=ends, ylim=ends[::-1])
