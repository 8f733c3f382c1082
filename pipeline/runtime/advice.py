"""What a user is told before and after a training that cannot come to much: nothing here changes a result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.settings.runs import Run

FEW = 300  # steps
ENOUGH = 600  # steps, of batches that are small enough for the data
BATCHES = {200: 8, 1000: 16}  # images a step for fewer training images than that
LARGEST_BATCH = 32
SEEN = 10  # times that every image is seen at least


class Recipe(NamedTuple):
    """How to cut so many images into steps."""

    batch_size: int
    epochs: int
    steps: int


def recipe(images: int) -> Recipe:
    """Return the batch size for so many training images, and the epochs that make ENOUGH steps, at least SEEN."""
    batch_size = next((size for below, size in BATCHES.items() if images < below), LARGEST_BATCH)
    an_epoch = -(-images // batch_size)
    epochs = max(SEEN, -(-ENOUGH // an_epoch))
    return Recipe(batch_size, epochs, epochs * an_epoch)


def before_training(run: Run, images: int) -> str:
    """Say that a run of so many training images takes too few steps to learn in, and what would do; else nothing."""
    from capsnet.training.loop import batch_sizes

    images -= round(run.validation * images)
    steps = run.epochs * len(batch_sizes(images, run.batch_size))
    faults = [f"{images} images to train on are fewer than a batch of {run.batch_size}"] * (images < run.batch_size)
    faults += [f"{steps} steps are few to learn in"] * (steps < FEW)
    if not faults:
        return ""
    better = recipe(images)
    more = max(better.epochs, run.epochs)
    return f"{', and '.join(faults)}; for so many images try batch_size {better.batch_size} and epochs {more}"


def after_evaluation(metrics: Mapping[str, Any], confusion: Sequence[Mapping[str, int]]) -> str:
    """Say that a run is right no more often than one that always says the largest class; else nothing.

    Of pairs of images nothing is said.
    """
    if "pairs" in metrics:
        return ""
    seeds = {row["seed"] for row in confusion}
    counts: Counter[int] = Counter()
    for row in confusion:
        counts[row["actual"]] += row["count"]
    share = 100 * max(counts.values()) / counts.total()
    accuracy = metrics["accuracy_mean"]
    if accuracy > share + 1e-9:  # both are sums that were rounded
        return ""
    return (
        f"{accuracy:.2f} % right is no better than always saying the largest class, which has {share:.2f} % of the "
        f"{counts.total() // len(seeds)} test images"
    )
