"""The network: convolution, primary capsules, class capsules, decoder (Sabour et al. 2017, section 4).

Axes: B batch, C channels, H W height and width, I primary capsules, J classes, D pose size of a class capsule.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from capsnet.decoders import DECODERS, deconv_geometry
from capsnet.layers import ClassCapsules, PrimaryCapsules


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the architecture; raises ValueError for a network that cannot be built."""

    image_size: int  # height and width in pixels, 20 to 64
    channels: int  # of the image, 1 to 4
    classes: int  # J, 2 to 1000
    conv_channels: int
    conv_kernel: int
    primary_types: int
    primary_dim: int  # K
    primary_kernel: int
    primary_stride: int
    class_dim: int  # D
    routing_iterations: int
    routing_bias: bool
    leaky_routing: bool
    decoder: str  # a key of DECODERS
    decoder_hidden: tuple[int, ...]  # widths of the fc decoder's hidden layers
    decoder_channels: int  # channels of the deconv decoder's first layer
    batch_norm: bool  # in encoder and decoder

    def __post_init__(self) -> None:
        for name, low, high in (("image_size", 20, 64), ("channels", 1, 4), ("classes", 2, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: got {value}, expected {low} to {high}")
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder: got {self.decoder!r}, expected one of {', '.join(DECODERS)}")
        if self.routing_iterations < 1:
            raise ValueError(f"routing_iterations: got {self.routing_iterations}, expected at least 1")
        if self.primary_grid < 1:
            raise ValueError(
                f"image_size: got {self.image_size}, too small for conv_kernel {self.conv_kernel} followed by "
                f"primary_kernel {self.primary_kernel}"
            )
        if self.decoder == "deconv":
            deconv_geometry(self.image_size)

    @property
    def primary_grid(self) -> int:
        """Side of the grid of primary capsules: 6 for 28-pixel images and 9x9 kernels."""
        return (self.image_size - self.conv_kernel + 1 - self.primary_kernel) // self.primary_stride + 1

    @property
    def num_primary(self) -> int:
        """Number of primary capsules I = types x grid x grid: 1152 for 28-pixel images in the paper's network."""
        return self.primary_types * self.primary_grid**2


class Output(NamedTuple):
    """What the network returns; `coupling` is None unless asked for, `reconstruction` without a decoder."""

    capsules: Float[Tensor, "B J D"]
    lengths: Float[Tensor, "B J"]  # in [0, 1): how sure the network is of each class
    coupling: Float[Tensor, "B I J"] | None
    reconstruction: Float[Tensor, "B C H W"] | None


class CapsNet(nn.Module):
    """The capsule network of Sabour et al. 2017, with the reference study's decoders and batch normalisation.

    Weights are drawn from torch's global generator, as in any module: seed it, or fork it, around the constructor.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.Sequential(
            nn.Conv2d(config.channels, config.conv_channels, config.conv_kernel),
            nn.BatchNorm2d(config.conv_channels) if config.batch_norm else nn.Identity(),
            nn.ReLU(inplace=True),
            PrimaryCapsules(
                config.conv_channels,
                config.primary_types,
                config.primary_dim,
                config.primary_kernel,
                config.primary_stride,
                config.batch_norm,
            ),
        )
        self.class_capsules = ClassCapsules(
            config.num_primary,
            config.primary_dim,
            config.classes,
            config.class_dim,
            iterations=config.routing_iterations,
            bias=config.routing_bias,
            leaky=config.leaky_routing,
        )
        build = DECODERS[config.decoder]
        self.decoder = build and build(
            config.classes,
            config.class_dim,
            config.channels,
            config.image_size,
            hidden=config.decoder_hidden,
            base=config.decoder_channels,
            batch_norm=config.batch_norm,
        )

    def forward(
        self,
        images: Float[Tensor, "B C H W"],
        labels: Int[Tensor, " B"] | None = None,
        with_coupling: bool = False,
    ) -> Output:
        """Recognise and reconstruct images with values in [0, 1].

        The decoder sees the capsule of `labels` (training) or, without labels, the longest one (evaluation).
        Raises ValueError for images of another size or number of channels.
        """
        expected = (self.config.channels, self.config.image_size, self.config.image_size)
        if images.shape[1:] != expected:
            raise ValueError(f"images: got {tuple(images.shape[1:])}, expected {expected} (channels, height, width)")
        capsules, coupling = self.class_capsules(self.encoder(images), with_coupling)
        lengths = torch.linalg.vector_norm(capsules, dim=2)
        chosen = lengths.argmax(1) if labels is None else labels
        reconstruction = self.decoder(mask(capsules, chosen).flatten(1)).to(images.dtype) if self.decoder else None
        return Output(capsules, lengths, coupling, reconstruction)


def mask(capsules: Float[Tensor, "B J D"], chosen: Int[Tensor, " B"]) -> Float[Tensor, "B J D"]:
    """Zero all capsules but the chosen one of each image (Sabour et al. 2017, section 4.1)."""
    kept = chosen.unsqueeze(1) == torch.arange(capsules.shape[1], device=capsules.device)
    return capsules * kept.unsqueeze(2)
