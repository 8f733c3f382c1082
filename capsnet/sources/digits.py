"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, in the package itself.

They are the test set of the UCI Optical Recognition of Handwritten Digits data (Alpaydin, Kaynak 1998).
Terms: CC BY 4.0.
"""

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from capsnet.data.arrays import Arrays, Split
from capsnet.sources.transfer import File, open_gzip

FILES = (File("digits.csv.gz", "9b335364a7bfd63947c7480a5bd51f2d", 57_523),)
CLASS_NAMES = tuple("0123456789")
NUM_TEST = 450
LEVELS = 16  # grey levels of the original above zero
ENLARGED = 24
BORDER = 2


def servers() -> tuple[str, ...]:
    """Return the folder of the installed package that holds the file, found without importing the package.

    Raises FileNotFoundError without scikit-learn, which the extra `pipeline` brings.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "digits: scikit-learn holds them and is not installed; pip install '.[pipeline]' does that"
        )
    return (str(Path(package.origin).parent / "datasets" / "data"),)


def read(raw: Path) -> Arrays:
    """Read the images, enlarged to 28x28; the last 450 of them are the test split.

    The images are not shuffled before the split. In a random split, similar images are in both parts, and any network
    nearly solves it (LOG.md has the numbers). The 8x8 pixels become 24x24 by bilinear interpolation, with a border of
    two pixels that shifts may use.
    """
    with open_gzip(raw / FILES[0].name) as file:
        table = np.loadtxt(file, delimiter=",")
    labels = table[:, -1].astype(np.int64)
    images = enlarge(table[:, :-1].reshape(-1, 8, 8))
    train = Split(images[:-NUM_TEST], labels[:-NUM_TEST])
    return Arrays(train, Split(images[-NUM_TEST:], labels[-NUM_TEST:]), "", CLASS_NAMES)


def enlarge(images: np.ndarray) -> UInt8[np.ndarray, "N 1 28 28"]:
    """Enlarge 8x8 images with levels 0 to 16 to 28x28 with levels 0 to 255."""
    import torch

    tensor = torch.from_numpy(images).unsqueeze(1) * (255 / LEVELS)
    large = torch.nn.functional.interpolate(tensor, size=(ENLARGED, ENLARGED), mode="bilinear", align_corners=False)
    return torch.nn.functional.pad(large.round(), [BORDER] * 4).to(torch.uint8).numpy()
