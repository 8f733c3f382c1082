"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 + 10,000 pictures of clothing, 28x28 pixels. Terms: MIT."""

from pathlib import Path

from capsnet.data.arrays import Arrays
from capsnet.sources import idx
from capsnet.sources.transfer import File

# The names are those of MNIST's files; the content is different.
FILES = (
    File("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
    File("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
    File("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
    File("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
)
SERVERS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
)
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def servers() -> tuple[str, ...]:
    """Return where the official files are, in the order in which the servers are tried."""
    return SERVERS


def read(raw: Path) -> Arrays:
    """Read the four official files. Raises ValueError naming the file and what is wrong with it."""
    return idx.read(raw, FILES, CLASS_NAMES)
