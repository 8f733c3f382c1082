"""What all networks have in common, and what the rest of the library may ask of one.

A network is an encoder (images to primary capsules), class capsules that route those, and a decoder. What makes one
special is in one file, a configuration that knows its parts: `capsnet.networks.dynamic` and
`capsnet.networks.attention`. `capsnet.networks.capsnet` lists them.

Axes: B batch, I primary capsules, K their pose size, J classes, D pose size of a class capsule.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import nn

from capsnet.networks.decoders import DECODERS, deconv_geometry


class ReceptiveField(NamedTuple):
    """The pixels behind the primary capsules of a row or column p: `size` from `start` + `step` p on.

    With padding some lie outside the image.
    """

    start: int
    step: int
    size: int

    def centre(self, place: int) -> float:
        """Return the middle of the pixels behind row or column `place`, in pixels."""
        return self.start + self.step * place + (self.size - 1) / 2


class Layout(NamedTuple):
    """The primary capsules: capsule i is (type, row, column) in row-major order, on a square grid."""

    types: int
    grid: int  # rows, and columns
    dim: int  # K
    field: ReceptiveField

    @property
    def number(self) -> int:
        """Number of primary capsules I."""
        return self.types * self.grid**2


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """Everything that decides architecture and initial weights; raises ValueError if it cannot be built.

    The fields here are those of every network.
    """

    image_size: int  # height and width in pixels, 20 to 64
    channels: int  # of the image, 1 to 4
    classes: int  # J, 2 to 1000
    standardise: bool  # each image, before the first convolution
    class_dim: int  # D
    decoder: str  # a key of DECODERS
    decoder_hidden: tuple[int, ...]  # widths of the fc decoder's hidden layers
    decoder_channels: int  # channels of the first layer of the deconv and the upsampling decoder

    network: ClassVar[str]  # its name: a key of NETWORKS, and of a run's settings
    routing: ClassVar[str]  # what joins primary into class capsules, in words
    source: ClassVar[str]  # where it was published
    even: ClassVar[str]  # when all classes have the same share of a primary capsule, in words

    def __post_init__(self) -> None:
        for name, low, high in (("image_size", 20, 64), ("channels", 1, 4), ("classes", 2, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: got {value}, expected {low} to {high}")
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder: got {self.decoder!r}, expected one of {', '.join(DECODERS)}")
        if self.decoder == "deconv":
            deconv_geometry(self.image_size)

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """How many primary capsules there are, and what each of them sees."""

    @property
    @abstractmethod
    def normalises_batches(self) -> bool:
        """Whether a training step needs two images or more."""

    @property
    @abstractmethod
    def even_share(self) -> float:
        """The coupling of a primary capsule to each class when `even` is so."""

    @abstractmethod
    def build_encoder(self) -> nn.Sequential:
        """Return the layers from prepared images (B, C, H, W) to primary capsules (B, I, K).

        A layer with operations of its own also has a method `plain`, that does the same in torch's own.
        """

    @abstractmethod
    def build_class_capsules(self) -> nn.Module:
        """Return what routes: called with primary capsules and `with_coupling`, it gives a `Routing`.

        It may have a method `plain`, of the capsules alone.
        """

    def build_decoder(self) -> nn.Module | None:
        """Return the layers from class capsules (B, J * D), all but one zeroed, to images; None without a decoder."""
        return self._decoder(batch_norm=False)

    @abstractmethod
    def initialise(self, encoder: nn.Sequential, class_capsules: nn.Module, decoder: nn.Module | None) -> None:
        """Draw initial weights other than those that the layers have drawn."""

    @property
    def primary_grid(self) -> int:
        """Side of the grid of primary capsules."""
        return self.layout.grid

    @property
    def num_primary(self) -> int:
        """Number of primary capsules I."""
        return self.layout.number

    def _decoder(self, batch_norm: bool) -> nn.Module | None:
        build = DECODERS[self.decoder]
        return build and build(
            self.classes,
            self.class_dim,
            self.channels,
            self.image_size,
            hidden=self.decoder_hidden,
            base=self.decoder_channels,
            batch_norm=batch_norm,
        )
