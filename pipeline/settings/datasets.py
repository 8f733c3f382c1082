"""The data sets in params.yaml: each format of images, with its options."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from pipeline.settings.checked import Checked, Seed

SMALLEST, LARGEST = 20, 64  # sides of images that a network takes, in pixels
# Sides of the images in official formats, as they are prepared.
SIDES = {"digits": 28, "mnist": 28, "fashion": 28, "affnist": 40, "cifar10": 32, "smallnorb": 48}


class Source(Checked):
    """The folder or file that `pipeline.prepare` reads. Its `format` says how."""

    raw: str


class OfficialFiles(Source):
    """Official files, or a copy of them. They have no options."""

    format: Literal["digits", "mnist", "fashion", "cifar10"]


class SmallNORB(Source):
    """Stereo pairs: as two channels of one image, or as two images of one channel. The left view comes first."""

    format: Literal["smallnorb"]
    views: Literal["stereo", "mono"]


class AffNIST(Source):
    """MNIST digits, moved and warped at random. `raw` is MNIST's folder."""

    format: Literal["affnist"]
    seed: Seed


class Own(Source):
    """The user's own images. `duplicates` says whether a test image may be a training image, too."""

    duplicates: Literal["refuse", "allow"] = "refuse"


class OwnArrays(Own):
    """An .npz file."""

    format: Literal["npz"]


class Folder(Own):
    """A folder with a folder of pictures for each class; they become `size` x `size` pixels, grey or in colour."""

    format: Literal["folder"]
    size: Annotated[int, Field(ge=SMALLEST, le=LARGEST)]
    channels: Literal[1, 3]


Dataset = Annotated[OfficialFiles | SmallNORB | AffNIST | OwnArrays | Folder, Field(discriminator="format")]
FORMATS: dict[str, type[Source]] = {
    format: entry
    for entry in (OfficialFiles, SmallNORB, AffNIST, OwnArrays, Folder)
    for format in get_args(entry.model_fields["format"].annotation)
}
