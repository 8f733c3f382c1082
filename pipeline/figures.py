"""Draw the pictures of a data set: reports/<study>/figures/<dataset>-{curves,reconstructions}.png.

python -m pipeline.figures digits
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from capsnet.files import whole_file
from pipeline.config import Params, find, load_params
from pipeline.data import read_prepared
from pipeline.device import configure_torch
from pipeline.outputs import FIGURES, MODELS, REPORTS, model_files
from pipeline.stage import name_argument, run_stage
from pipeline.tracking import find_trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

# Okabe and Ito 2008: told apart with any colour vision; line styles repeat the message in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
STYLES = ("-", "--", "-.", ":")
WRONG = "#D55E00"
# Columns of history.csv and how an axis calls them.
CURVES = (
    ("train_loss", "total loss, training", "log"),
    ("train_rloss", "RLoss per image, training", "log"),
    ("train_accuracy", "accuracy (%), training", "linear"),
    ("val_accuracy", "accuracy (%), validation", "linear"),
)


class Shown(NamedTuple):
    """Reconstructions of some test images by one run, and the class it took each for."""

    label: str
    images: np.ndarray
    predicted: list[int]


def draw_curves(histories: dict[str, pd.DataFrame]) -> "Figure":
    """Draw each curve of `CURVES` that the histories have: mean over the seeds, and range from lowest to highest."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    columns = [curve for curve in CURVES if all(curve[0] in history for history in histories.values())]
    figure = Figure(figsize=(3.4 * len(columns), 3.0), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, (column, title, scale) in zip(panels, columns, strict=True):
        for (label, history), colour, style in zip(histories.items(), COLOURS, STYLES, strict=False):
            _draw_curve(axes, history, column, label, colour, style)
        axes.set(xlabel="epoch", ylabel=title, yscale=scale)
        if scale == "log":
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def _draw_curve(axes: "Axes", history: pd.DataFrame, column: str, label: str, colour: str, style: str) -> None:
    from matplotlib.ticker import MaxNLocator

    seeds = history.pivot(index="epoch", columns="seed", values=column)
    axes.plot(seeds.index, seeds.mean(axis=1), style, color=colour, label=label, linewidth=1.4)
    axes.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_reconstructions(originals: np.ndarray, labels: Sequence[int], rows: Sequence[Shown]) -> "Figure":
    """Draw originals (N, C, H, W) above each run's reconstructions; a wrong class is framed and named."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.62 * len(labels) + 1.3, 0.74 * (len(rows) + 1) + 0.2), layout="constrained")
    grid = figure.subplots(len(rows) + 1, len(labels), squeeze=False)
    everything = [Shown("test image", originals, list(labels)), *rows]
    for line, shown in zip(grid, everything, strict=True):
        line[0].set_ylabel(shown.label, rotation=0, ha="right", va="center", fontsize=8)
        for axes, image, predicted, truth in zip(line, shown.images, shown.predicted, labels, strict=True):
            axes.imshow(_displayable(image), "gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            wrong = predicted != truth
            for spine in axes.spines.values():
                spine.set(visible=wrong, color=WRONG, linewidth=2)
            if wrong:
                axes.set_title(f"taken for {predicted}", fontsize=6, color=WRONG, pad=2)
    for axes, label in zip(grid[0], labels, strict=True):
        axes.set_title(str(label), fontsize=8, pad=3)
    return figure


def _displayable(image: np.ndarray) -> np.ndarray:
    """Three channels are a picture in colour; of one, two or four the first is shown."""
    return np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]


def first_of_each_class(labels: np.ndarray, at_most: int = 10) -> list[int]:
    """Return the index of the first image of each class: a choice that nobody made by eye."""
    return [int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels)[:at_most]]


def first_model(run: str) -> Path:
    """Return the model of a run's first seed."""
    return next(iter(model_files(MODELS / run).values()))


def reconstruct(run: str, label: str, images: "Tensor") -> tuple[np.ndarray, Shown]:
    """Return what the first seed of a run sees of uint8 images (N, C, H, W), and its reconstructions."""
    import torch

    from capsnet.checkpoint import load
    from capsnet.evaluation import seen

    model = load(first_model(run)).to(images.device)
    with torch.no_grad():
        pixels = seen(model, images)
        output = model(pixels)
    if output.reconstruction is None:
        raise ValueError(f"figures: run {run} has no decoder: nothing to draw")
    shown = Shown(label, output.reconstruction.cpu().numpy(), output.lengths.argmax(1).tolist())
    return pixels.cpu().numpy(), shown


def draw(name: str, params: Params) -> dict[str, "Figure"]:
    """Return the figures of one entry of `figures`, by name. Raises ValueError for an unknown one."""
    entry = find(name, params.figures, "figures")
    runs = {run: params.runs[run] for run in entry.runs}
    first = next(iter(runs.values()))
    hardware = configure_torch(first.device, first.threads)
    test = read_prepared(first.dataset, "test", hardware.device)
    labels = test.labels.cpu().numpy()
    chosen = first_of_each_class(labels)
    seen, rows = zip(*(reconstruct(name, run.label, test.images[chosen]) for name, run in runs.items()), strict=True)
    histories = {run.label: pd.read_csv(MODELS / name / "history.csv") for name, run in runs.items()}
    figures = {
        "curves": draw_curves(histories),
        "reconstructions": draw_reconstructions(seen[0], labels[chosen].tolist(), rows),
    }
    if test.manifest.note:
        for figure in figures.values():
            figure.supxlabel(f"{test.manifest.dataset}: {test.manifest.note}", fontsize=6)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "DATASET", "a key of `figures` in params.yaml", argv)
    params = load_params()
    figures = draw(name, params)
    entry = params.figures[name]
    paths = []
    for title, figure in figures.items():
        path = REPORTS / entry.study / FIGURES / f"{name}-{title}.png"
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=200)
        paths.append(path)
    for run in entry.runs:
        trained = find_trained(params.tracking.experiment, first_model(run))
        if trained is not None and trained.parent is not None:
            trained.parent.attach(*paths, folder="figures")
    print(", ".join(map(str, paths)))


if __name__ == "__main__":
    run_stage(main)
