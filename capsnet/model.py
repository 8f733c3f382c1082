"""The network: convolution, primary capsules, class capsules, decoder (Sabour et al. 2017, section 4).

Axes: B batch, P classes in an image, C channels, H W height and width, I primary capsules, J classes, D pose size of a
class capsule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from capsnet.decoders import DECODERS, deconv_geometry
from capsnet.layers import PADDINGS, ClassCapsules, PrimaryCapsules, convolved_size

MOST_ITERATIONS = 100  # of routing: the coupling has long settled


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides architecture and initial weights; raises ValueError if it cannot be built."""

    image_size: int  # height and width in pixels, 20 to 64
    channels: int  # of the image, 1 to 4
    classes: int  # J, 2 to 1000
    standardise: bool  # each image, before the first convolution
    padding: str  # a key of PADDINGS, for both convolutions
    conv_channels: int
    conv_kernel: int
    primary_types: int
    primary_dim: int  # K
    primary_kernel: int
    primary_stride: int
    primary_scale: float  # of the primary capsules' convolution, before its bias
    class_dim: int  # D
    routing_iterations: int
    routing_bias: bool
    leaky_routing: bool
    decoder: str  # a key of DECODERS
    decoder_hidden: tuple[int, ...]  # widths of the fc decoder's hidden layers
    decoder_channels: int  # channels of the deconv decoder's first layer
    batch_norm: bool  # in encoder and decoder
    initialisation: str  # a key of INITIALISATIONS

    def __post_init__(self) -> None:
        for name, low, high in (("image_size", 20, 64), ("channels", 1, 4), ("classes", 2, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: got {value}, expected {low} to {high}")
        for name, choices in (("decoder", DECODERS), ("padding", PADDINGS), ("initialisation", INITIALISATIONS)):
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(choices)}")
        if not 1 <= self.routing_iterations <= MOST_ITERATIONS:
            raise ValueError(f"routing_iterations: got {self.routing_iterations}, expected 1 to {MOST_ITERATIONS}")
        if not self.primary_scale > 0:
            raise ValueError(f"primary_scale: got {self.primary_scale}, expected greater than 0")
        if self.primary_grid < 1:
            raise ValueError(
                f"image_size: got {self.image_size}, too small for conv_kernel {self.conv_kernel} followed by "
                f"primary_kernel {self.primary_kernel}"
            )
        if self.decoder == "deconv":
            deconv_geometry(self.image_size)

    @property
    def primary_grid(self) -> int:
        """Side of the grid of primary capsules: 6 for 28-pixel images and 9x9 kernels without padding."""
        size = convolved_size(self.image_size, self.conv_kernel, 1, self.padding)
        return convolved_size(size, self.primary_kernel, self.primary_stride, self.padding)

    @property
    def num_primary(self) -> int:
        """Number of primary capsules I = types x grid x grid: 1152 for 28-pixel images in the paper's network."""
        return self.primary_types * self.primary_grid**2


class Output(NamedTuple):
    """What the network returns; `coupling` is None unless asked for, `reconstruction` without a decoder."""

    capsules: Float[Tensor, "B J D"]
    lengths: Float[Tensor, "B J"]  # in [0, 1): how sure the network is of each class
    coupling: Float[Tensor, "B I J"] | None
    reconstruction: Float[Tensor, "B *P C H W"] | None


class CapsNet(nn.Module):
    """The capsule network of Sabour et al. 2017, with the reference study's decoders and batch normalisation.

    Weights are drawn from torch's global generator, as in any module: seed it, or fork it, around the constructor.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.prepare: Callable[[Tensor], Tensor] = standardise if config.standardise else nn.Identity()
        self.encoder = nn.Sequential(
            nn.Conv2d(config.channels, config.conv_channels, config.conv_kernel, padding=config.padding),
            nn.BatchNorm2d(config.conv_channels) if config.batch_norm else nn.Identity(),
            PrimaryCapsules(
                config.conv_channels,
                config.primary_types,
                config.primary_dim,
                config.primary_kernel,
                config.primary_stride,
                config.batch_norm,
                rectify=True,
                padding=config.padding,
                scale=config.primary_scale,
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
        INITIALISATIONS[config.initialisation](self)

    def forward(
        self,
        images: Float[Tensor, "B C H W"],
        labels: Int[Tensor, " B *P"] | None = None,
        with_coupling: bool = False,
    ) -> Output:
        """Recognise and reconstruct images with values in [0, 1].

        The decoder sees the capsule of `labels` (training) or, without labels, the longest one (evaluation); several
        labels an image give as many reconstructions, each of one capsule alone.
        Raises ValueError for images of another size or number of channels.
        """
        expected = (self.config.channels, self.config.image_size, self.config.image_size)
        if images.shape[1:] != expected:
            raise ValueError(f"images: got {tuple(images.shape[1:])}, expected {expected} (channels, height, width)")
        capsules, coupling = self.class_capsules(self.encoder(self.prepare(images)), with_coupling)
        lengths = torch.linalg.vector_norm(capsules, dim=2)
        chosen = lengths.argmax(1) if labels is None else labels
        reconstruction = self.decode(capsules, chosen).to(images.dtype) if self.decoder else None
        return Output(capsules, lengths, coupling, reconstruction)

    def decode(self, capsules: Float[Tensor, "B J D"], classes: Int[Tensor, " B *P"]) -> Float[Tensor, "B *P C H W"]:
        """Reconstruct from the capsule of `classes` alone; of several classes an image from each alone, in one batch.

        Raises ValueError without a decoder.
        """
        if self.decoder is None:
            raise ValueError("decode: got a network without a decoder, expected one with")
        if classes.ndim > 1:
            each = self.decode(capsules.repeat_interleave(classes.shape[1], 0), classes.flatten())
            return each.view(*classes.shape, *each.shape[1:])
        images: Tensor = self.decoder(mask(capsules, classes).flatten(1))
        return images


def mask(capsules: Float[Tensor, "B J D"], chosen: Int[Tensor, " B"]) -> Float[Tensor, "B J D"]:
    """Zero all capsules but the chosen one of each image (Sabour et al. 2017, section 4.1)."""
    kept = chosen.unsqueeze(1) == torch.arange(capsules.shape[1], device=capsules.device)
    return capsules * kept.unsqueeze(2)


def standardise(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Give each image mean 0 and standard deviation 1 over all its channels and pixels.

    The deviation is taken to be at least 1 / sqrt(C H W) of one of 255 grey levels, as by TensorFlow's
    per_image_standardization of images from 0 to 255 in the authors' code; a constant image becomes zero.
    """
    axes = (1, 2, 3)
    least = 1 / (255**2 * images.shape[1:].numel())
    centred = images - images.mean(axes, keepdim=True)
    return centred * centred.square().mean(axes, keepdim=True).clamp(min=least).rsqrt()


def as_torch_does(model: CapsNet) -> None:
    """Leave the initial weights as torch and the layers draw them."""


def as_sabour_does(model: CapsNet) -> None:
    """Draw all weights anew: normal, cut off at two standard deviations of 0.1 (0.05 in the first convolution).

    Biases are 0.1. The authors' code (models/layers/variables.py and capsule_model.py); it has no batch normalisation,
    which stays as it was.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        deviation = 0.05 if module is model.encoder[0] else 0.1
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                nn.init.constant_(parameter, 0.1)
            else:
                nn.init.trunc_normal_(parameter, std=deviation, a=-2 * deviation, b=2 * deviation)


def as_reference_does(model: CapsNet) -> None:
    """Draw the weights anew so small that no capsule starts out long: Glorot's normal distribution, times 0.02.

    That of the class capsules is times 0.002; other biases, and batch normalisation, stay as they were. The reference
    study's code (tools.py); its normalisation starts within 0.02 of the identity.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain=0.02)
    # Its layout decides what Glorot's fans are: one (1, I, J, D, K) tensor, and (1, 1, J, D) for the bias.
    nn.init.xavier_normal_(model.class_capsules.weight.detach()[None], gain=0.002)
    if model.class_capsules.bias is not None:
        nn.init.xavier_normal_(model.class_capsules.bias.detach()[None, None], gain=0.002)


INITIALISATIONS: dict[str, Callable[[CapsNet], None]] = {
    "torch": as_torch_does,
    "reference": as_reference_does,
    "sabour": as_sabour_does,
}
