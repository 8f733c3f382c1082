"""MNIST (LeCun, Cortes, Burges 1998): 60,000 + 10,000 handwritten digits of 28x28 pixels. Terms: CC BY-SA 3.0."""

from pathlib import Path

from capsnet.data.arrays import Arrays
from capsnet.sources import idx
from capsnet.sources.transfer import File

FILES = (
    File("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
    File("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432", 28_881),
    File("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3", 1_648_877),
    File("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c", 4_542),
)
SERVERS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    "http://yann.lecun.com/exdb/mnist",
)
CLASS_NAMES = tuple("0123456789")


def servers() -> tuple[str, ...]:
    """Return where the official files are, in the order in which the servers are tried."""
    return SERVERS


def read(raw: Path) -> Arrays:
    """Read the four official files. Raises ValueError naming the file and what is wrong with it."""
    return idx.read(raw, FILES, CLASS_NAMES)
