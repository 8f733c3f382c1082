"""What to say of a training that cannot succeed or did not: settings that do better, and the room that it needs."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from capsnet.networks.capsnet import NetworkConfig
    from capsnet.training.training_config import TrainingConfig

FEWEST_STEPS = 300  # with fewer a network hardly learns
STEPS = 600  # enough, if the batches are small enough for the data
BATCH_SIZES = {200: 8, 1000: 16}  # the batch size, by the number of training images below which it is used
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


def trained_on(images: int, validation: float) -> int:
    """Return how many training images are left if a share of them is held out, image by image."""
    return images - (max(1, round(validation * images)) if validation else 0)


def too_few_steps(training: "TrainingConfig", images: int) -> str:
    """Return a warning if a run takes too few steps to learn; empty if it does not.

    Args:
        training: The training settings of the run. Images that are held out for validation make no step.
        images: The number of its training images, those for validation included.
    """
    from capsnet.training.loop import batch_sizes

    images = trained_on(images, training.validation)
    steps = training.epochs * len(batch_sizes(images, training.batch_size))
    faults = []
    if images < training.batch_size:
        faults.append(f"{images} training images are fewer than a batch of {training.batch_size}")
    if steps < FEWEST_STEPS:
        faults.append(f"{steps} training steps are too few to learn much")
    if not faults:
        return ""
    better = recipe(images)
    epochs = max(better.epochs, training.epochs)
    advice = f"for {images} images try batch_size {better.batch_size} and epochs {epochs}"
    return f"{', and '.join(faults)}; {advice}"


def disk_space(network: "NetworkConfig", seeds: int, images: int, folder: Path) -> str:
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
    """Return a warning if a run is right no more often than a constant guess, the most frequent class; else empty.

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
