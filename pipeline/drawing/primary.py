"""Images decoded from one primary capsule, and from more and more of them.

Axes: I primary capsules, K their pose size, C channels, H W height and width.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import PHONE, WRONG, displayable
from pipeline.drawing.subject import Subject, load_primary_decoder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from capsnet.explain.primary import PrimaryDecoder, Routed
    from capsnet.networks.capsnet import CapsNet, NetworkConfig

ROWS = 6
STEPS = 5  # weights from 0 to that of the capsule
COUNTS = (0, 1, 2, 4, 16, 64, 256)  # strongest capsules that are decoded together
FEW = 16  # of them, or fewer than all, which the finding names


def primary(subject: Subject) -> Drawing:
    """Draw images decoded from the strongest primary capsules of the first test image, alone and together."""
    from capsnet.evaluation.recognition import seen
    from capsnet.explain.primary import route

    model, decoder = subject.network, load_primary_decoder(subject)
    image = subject.test.images[:1]
    routed = route(model, image)
    numbers = strongest(routed, model.config)
    alone, together = decode(decoder, routed, numbers["capsule"].tolist()[:ROWS])
    counts = [*(count for count in COUNTS if count < len(numbers)), len(numbers)]
    errors = rloss_of_strongest(model, decoder, subject.test.images, counts)
    caption = (
        f"Each row is one of the {min(ROWS, len(numbers))} strongest primary capsules of the first test image, by "
        f"length times coupling to the winning class ({subject.named(int(routed.classes[0]))}). From left to right: "
        "the region that it sees, images decoded from it alone as its weight rises, and the image decoded from it and "
        f"all above ({subject.label}, first seed, with a decoder trained for this)."
    )
    figure = draw_primary(seen(model, image)[0].cpu().numpy(), alone, together, numbers.head(ROWS), model.config)
    finding = describe(counts, errors)
    return Drawing("primary", "Images from single primary capsules", finding, caption, figure, numbers)


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
    """Return images of each capsule alone, its weight rising (rows, STEPS, C, H, W), and of the first rows together."""
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


def describe(counts: list[int], errors: list[float]) -> str:
    """Return the finding: how well the strongest few capsules reconstruct the test images, against all of them."""
    few = next(place for place, count in enumerate(counts) if count >= min(FEW, counts[-2]))
    return (
        f"Decoded from the {counts[few]} strongest of its {counts[-1]} primary capsules, an image has a squared error "
        f"of {errors[few]:.1f}; decoded from all of them it has {errors[-1]:.1f}, from none {errors[0]:.1f}."
    )


def rloss_of_strongest(model: "CapsNet", decoder: "PrimaryDecoder", images: "Tensor", counts: list[int]) -> list[float]:
    """Return the mean over the images of the squared error, if the `counts` strongest capsules are decoded."""
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
    """Draw a row for each capsule: its region, its images alone, and the image of all capsules down to it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PHONE, 0.63 * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), STEPS + 2, squeeze=False)
    for line, images, all_so_far, (_, capsule) in zip(grid, alone, together, rows.iterrows(), strict=True):
        _draw_region(line[0], image, capsule, config)
        for axes, decoded in zip(line[1:], [*images, all_so_far], strict=True):
            axes.imshow(displayable(decoded), "gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(
            f"type {capsule['type']:.0f}\ncoupling\n{capsule['coupling']:.2f}",
            rotation=0,
            ha="right",
            va="center",
            fontsize=8,
        )
    weights = [f"{share:g}" for share in np.linspace(0, 1, STEPS)]
    weights[STEPS // 2] = f"decoded alone, with the weight\n{weights[STEPS // 2]}"
    titles = ["its region", *weights, "all so far"]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8, pad=3)
    return figure


def _draw_region(axes: "Axes", image: np.ndarray, capsule: "pd.Series[float]", config: "NetworkConfig") -> None:
    from matplotlib.patches import Rectangle

    field = config.layout.field
    left, top = (field.start + field.step * capsule[axis] - 0.5 for axis in ("column", "row"))
    axes.imshow(displayable(image), "gray", vmin=0, vmax=1)
    axes.add_patch(Rectangle((left, top), field.size, field.size, fill=False, edgecolor=WRONG, linewidth=1.2))
    ends = (-0.5, config.image_size - 0.5)
    axes.set(xticks=[], yticks=[], xlim=ends, ylim=ends[::-1])
