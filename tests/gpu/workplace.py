"""A folder of their own for the steps that read MNIST and train by the stages: they leave no file in the project."""

import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np

from capsnet.data.arrays import Arrays, Split
from pipeline.runtime.prepared import DATA, read_manifest, write_prepared

ROOT = Path(__file__).parents[2]
PREPARED = DATA / "mnist.npz"
MADE_UP = "made-up images in place of MNIST"
SIZES, FEW = (60_000, 10_000), (192, 64)  # training and test images
# A network that trains in no time: settings of a run with dynamic routing.
TINY = {"conv_channels": 8, "primary_types": 2, "decoder_hidden": [16, 24], "decoder_channels": 4}


def furnish(place: Path, *, small: bool) -> None:
    """Put the parameters and MNIST into a folder; images are made up if MNIST is not prepared, or all is small."""
    shutil.copyfile(ROOT / "params.yaml", place / "params.yaml")
    if (ROOT / PREPARED).is_file() and not small:
        (place / DATA).symlink_to(ROOT / DATA, target_is_directory=True)
        return
    with chdir(place):
        DATA.mkdir()
        train, test = (_split(number, seed) for seed, number in enumerate(FEW if small else SIZES))
        write_prepared("mnist", "made up", Arrays(train, test, MADE_UP))


def are_made_up() -> bool:
    """Tell whether the images in this folder are made up."""
    return read_manifest("mnist").note == MADE_UP


def _split(number: int, seed: int) -> Split:
    """Return images with a bright bar, on noise; the height of the bar tells the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % 10
    images = generator.integers(0, 60, (number, 1, 28, 28), dtype=np.uint8)
    for label in range(10):
        images[label::10, :, 2 * label + 3 : 2 * label + 7, 5:23] = 220
    return Split(images, labels)
