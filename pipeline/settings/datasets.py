"""The data sets of params.yaml: each format of images with the options that it has."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from pipeline.settings.checked import Checked, Seed

SMALLEST, LARGEST = 20, 64  # pixels a side that a network can see


class Source(Checked):
    """Where a data set comes from: the folder or file that `pipeline.prepare` reads in the way of its `format`."""

    raw: str


class Official(Source):
    """Official files, or a copy in their place, and nothing to choose."""

    format: Literal["digits", "mnist", "fashion", "cifar10"]


class SmallNORB(Source):
    """Stereo pairs as two channels of one image, or as two images of one channel, left before right."""

    format: Literal["smallnorb"]
    views: Literal["stereo", "mono"]


class AffNIST(Source):
    """MNIST, from its own folder, moved about and warped at random."""

    format: Literal["affnist"]
    seed: Seed


class Own(Source):
    """The user's own images; `duplicates` says what happens if a test image is a training image too."""

    duplicates: Literal["refuse", "allow"] = "refuse"


class OwnArrays(Own):
    """An .npz file."""

    format: Literal["npz"]


class Folder(Own):
    """A folder of class folders of pictures, brought to `size` pixels, grey or in colour."""

    format: Literal["folder"]
    size: Annotated[int, Field(ge=SMALLEST, le=LARGEST)]
    channels: Literal[1, 3]


Dataset = Annotated[Official | SmallNORB | AffNIST | OwnArrays | Folder, Field(discriminator="format")]
FORMATS: dict[str, type[Source]] = {
    format: entry
    for entry in (Official, SmallNORB, AffNIST, OwnArrays, Folder)
    for format in get_args(entry.model_fields["format"].annotation)
}
