"""What to say of a training that cannot succeed or did not: a recipe that does better, and the room that it needs."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.settings.runs import Run

if TYPE_CHECKING:
    from capsnet.networks.capsnet import NetworkConfig

FEWEST_STEPS = 300  # with fewer a network hardly learns
STEPS = 600  # enough, in batches that are small enough for the data
BATCH_SIZES = {200: 8, 1000: 16}  # below so many training images: the batch size
LARGEST_BATCH = 32
FEWEST_EPOCHS = 10
LONG = 300_000  # images in all epochs: minutes on a CPU


class Recipe(NamedTuple):
    """How a number of training images is divided into steps."""

    batch_size: int
    epochs: int
    steps: int


def recipe(images: int) -> Recipe:
    """Return a batch size for this number of training images, and epochs enough for STEPS steps."""
    batch_size = next((size for below, size in BATCH_SIZES.items() if images < below), LARGEST_BATCH)
    steps_an_epoch = -(-images // batch_size)
    epochs = max(FEWEST_EPOCHS, -(-STEPS // steps_an_epoch))
    return Recipe(batch_size, epochs, epochs * steps_an_epoch)


def too_few_steps(run: Run, images: int) -> str:
    """Return a warning if a run takes too few steps to learn; empty if it does not.

    Args:
        run: The run, whose validation images are not trained on.
        images: The number of its training images, those for validation included.
    """
    from capsnet.training.loop import batch_sizes

    images -= round(run.validation * images)
    steps = run.epochs * len(batch_sizes(images, run.batch_size))
    faults = []
    if images < run.batch_size:
        faults.append(f"{images} training images are fewer than a batch of {run.batch_size}")
    if steps < FEWEST_STEPS:
        faults.append(f"{steps} training steps are too few to learn much")
    if not faults:
        return ""
    better = recipe(images)
    epochs = max(better.epochs, run.epochs)
    advice = f"for {images} images try batch_size {better.batch_size} and epochs {epochs}"
    return f"{', and '.join(faults)}; {advice}"


def room(network: "NetworkConfig", seeds: int, images: int, folder: Path) -> str:
    """Return a line about the disk space for a long training, or for one that has too little; else empty.

    Args:
        network: The architecture.
        seeds: How many of it are trained.
        images: Images that each seed is trained on in all epochs together.
        folder: Where the training states are written.
    """
    from capsnet.training.seeds import initialise

    weights = sum(parameter.numel() for parameter in initialise(network, 0).parameters())
    # A model, and for each generation of states the weights and two moments of Adam. While a state is written there
    # are three: the new one, the newest and the previous.
    needed = 4 * weights * (seeds * (1 + 2 * 3) + 3)
    free = shutil.disk_usage(folder).free
    words = f"up to {_megabytes(needed)} are needed in {folder}, {_megabytes(free)} are free"
    if free < needed:
        return f"warning: {words}; make room, or the training ends when the disk is full. It keeps its last checkpoint"
    return words if images >= LONG else ""


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def no_better_than_guessing(metrics: Mapping[str, Any], confusion: Sequence[Mapping[str, int]]) -> str:
    """Return a warning if a run is right no more often than the guess of the most frequent class; else empty.

    A run that separates pairs gets no warning.
    """
    if "pairs" in metrics:
        return ""
    seeds = {row["seed"] for row in confusion}
    counts: Counter[int] = Counter()
    for row in confusion:
        counts[row["actual"]] += row["count"]
    share = 100 * max(counts.values()) / counts.total()
    accuracy = metrics["accuracy_mean"]
    if accuracy > share + 1e-9:  # both are rounded sums
        return ""
    return (
        f"an accuracy of {accuracy:.2f} % is no better than always answering with the most frequent class, which has "
        f"{share:.2f} % of the {counts.total() // len(seeds)} test images"
    )
