"""The configuration that all networks share, and what the rest of the library may ask of it.

A network has an encoder (images to primary capsules), class capsules that route those, and a decoder. Each network of
the library is one file with a configuration that builds these parts: `capsnet.networks.dynamic` and
`capsnet.networks.attention`. `capsnet.networks.capsnet` lists them.

Axes: B batch, I primary capsules, K their pose size, J classes, D pose size of a class capsule.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import nn

from capsnet.networks.decoders import DECODERS, deconv_geometry


class ReceptiveField(NamedTuple):
    """The pixels that a primary capsule sees: in row (or column) p, `size` pixels from `start` + `step` p on.

    With padding, some of them lie outside the image.
    """

    start: int
    step: int
    size: int

    def centre(self, place: int) -> float:
        """Return the middle of the pixels that row (or column) `place` sees, in pixels."""
        return self.start + self.step * place + (self.size - 1) / 2


class Layout(NamedTuple):
    """How the primary capsules are laid out: capsule i is (type, row, column) in row-major order, on a square grid."""

    types: int
    grid: int  # number of rows, and of columns
    dim: int  # K
    field: ReceptiveField

    @property
    def number(self) -> int:
        """Number of primary capsules I."""
        return self.types * self.grid**2


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """Everything that decides the architecture and the initial weights.

    The fields here are those of every network. Raises ValueError if the network cannot be built.
    """

    image_size: int  # height and width in pixels, 20 to 64
    channels: int  # of the image, 1 to 4
    classes: int  # J, 2 to 1000
    standardise: bool  # give each image mean 0 and deviation 1 before the first convolution
    class_dim: int  # D
    decoder: str  # a key of DECODERS
    decoder_hidden: tuple[int, ...]  # widths of the fc decoder's hidden layers
    decoder_channels: int  # channels of the first layer of the deconv and the upsampling decoder

    network: ClassVar[str]  # its name: a key of NETWORKS, and of a run's settings
    routing: ClassVar[str]  # the name of its routing
    source: ClassVar[str]  # where it was published
    even: ClassVar[str]  # what `even_share` is, for captions

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
        """The number and places of the primary capsules, and the pixels that each of them sees."""

    @property
    @abstractmethod
    def normalises_batches(self) -> bool:
        """Whether the network has batch normalisation, so that a training step needs at least two images."""

    @property
    @abstractmethod
    def even_share(self) -> float:
        """The coupling of a primary capsule to each class, if it is the same for all classes."""

    @abstractmethod
    def build_encoder(self) -> nn.Sequential:
        """Return the layers from prepared images (B, C, H, W) to primary capsules (B, I, K).

        A layer that has a faster implementation than torch's own operations has an attribute `fast`. While it is
        False, the layer uses torch's own operations.
        """

    @abstractmethod
    def build_class_capsules(self) -> nn.Module:
        """Return the layer that routes: it takes primary capsules and `with_coupling`, and returns a `Routing`.

        Like a layer of the encoder, it may have an attribute `fast`.
        """

    def build_decoder(self) -> nn.Module | None:
        """Return the layers from class capsules (B, J * D), all but one zero, to images; None without a decoder."""
        return self._decoder(batch_norm=False)

    @abstractmethod
    def initialise(self, encoder: nn.Sequential, class_capsules: nn.Module, decoder: nn.Module | None) -> None:
        """Replace the initial weights that the layers have drawn by others, where the network asks for it."""

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
        if build is None:
            return None
        return build(
            self.classes,
            self.class_dim,
            self.channels,
            self.image_size,
            hidden=self.decoder_hidden,
            base=self.decoder_channels,
            batch_norm=batch_norm,
        )
