"""The network with dynamic routing: convolution, primary capsules, class capsules (Sabour et al. 2017, section 4).

It can have the batch normalisation of the reference study (github.com/ethanleet/CapsNet), and the initial weights of
that study or of the authors' code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from capsnet.networks.layers import PADDINGS, ClassCapsules, PrimaryCapsules, convolved_size
from capsnet.networks.network_config import Layout, NetworkConfig, ReceptiveField

MOST_ITERATIONS = 100  # of routing; the coupling converges much earlier


@dataclass(frozen=True)
class ModelConfig(NetworkConfig):
    """The network of Sabour et al. 2017."""

    padding: str  # a key of PADDINGS, for both convolutions
    conv_channels: int
    conv_kernel: int
    primary_types: int
    primary_dim: int  # K
    primary_kernel: int
    primary_stride: int
    primary_scale: float  # of the primary capsules' convolution, before its bias
    routing_iterations: int
    routing_bias: bool
    leaky_routing: bool
    batch_norm: bool  # in encoder and decoder
    initialisation: str  # a key of INITIALISATIONS

    network: ClassVar[str] = "dynamic"
    routing: ClassVar[str] = "routing by agreement"
    source: ClassVar[str] = "Sabour, Frosst, Hinton 2017"
    even: ClassVar[str] = "the share of every class before the first agreement"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (("padding", PADDINGS), ("initialisation", INITIALISATIONS)):
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

    @property
    def layout(self) -> Layout:
        """In the paper's network, for images of 28 pixels: 1152 capsules, of 32 types on a grid of 6 x 6."""
        zeros = PADDINGS[self.padding]
        features = convolved_size(self.image_size, self.conv_kernel, 1, self.padding)
        grid = convolved_size(features, self.primary_kernel, self.primary_stride, self.padding)
        first, _ = zeros(self.image_size, self.conv_kernel, 1)
        second, _ = zeros(features, self.primary_kernel, self.primary_stride)
        field = ReceptiveField(-first - second, self.primary_stride, self.conv_kernel + self.primary_kernel - 1)
        return Layout(self.primary_types, grid, self.primary_dim, field)

    @property
    def normalises_batches(self) -> bool:
        """Whether the network has batch normalisation."""
        return self.batch_norm

    @property
    def even_share(self) -> float:
        """One class's share in a softmax of zeros; with leaky routing there is one more share, for no class."""
        return 1 / (self.classes + self.leaky_routing)

    def build_encoder(self) -> nn.Sequential:
        """Return a convolution and the primary capsules, which apply the ReLU."""
        return nn.Sequential(
            nn.Conv2d(self.channels, self.conv_channels, self.conv_kernel, padding=self.padding),
            nn.BatchNorm2d(self.conv_channels) if self.batch_norm else nn.Identity(),
            PrimaryCapsules(
                self.conv_channels,
                self.primary_types,
                self.primary_dim,
                self.primary_kernel,
                self.primary_stride,
                self.batch_norm,
                rectify=True,
                padding=self.padding,
                scale=self.primary_scale,
            ),
        )

    def build_class_capsules(self) -> nn.Module:
        """Return the layer of dynamic routing."""
        return ClassCapsules(
            self.num_primary,
            self.primary_dim,
            self.classes,
            self.class_dim,
            iterations=self.routing_iterations,
            bias=self.routing_bias,
            leaky=self.leaky_routing,
        )

    def build_decoder(self) -> nn.Module | None:
        """Return the decoder, with batch normalisation if the encoder has it."""
        return self._decoder(self.batch_norm)

    def initialise(self, encoder: nn.Sequential, class_capsules: nn.Module, decoder: nn.Module | None) -> None:
        """Draw the weights as `initialisation` says."""
        assert isinstance(class_capsules, ClassCapsules)
        INITIALISATIONS[self.initialisation](encoder, class_capsules, decoder)


def as_torch_does(encoder: nn.Sequential, class_capsules: ClassCapsules, decoder: nn.Module | None) -> None:
    """Keep the initial weights that torch and the layers have drawn."""


def as_sabour_does(encoder: nn.Sequential, class_capsules: ClassCapsules, decoder: nn.Module | None) -> None:
    """Draw all weights from a normal distribution cut off at two standard deviations; biases are 0.1.

    The standard deviation is 0.1, and 0.05 in the first convolution, as in the authors' code
    (models/layers/variables.py and capsule_model.py). That code has no batch normalisation; ours keeps its initial
    values.
    """
    for module in _modules(encoder, class_capsules, decoder):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        deviation = 0.05 if module is encoder[0] else 0.1
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                nn.init.constant_(parameter, 0.1)
            else:
                nn.init.trunc_normal_(parameter, std=deviation, a=-2 * deviation, b=2 * deviation)


def as_reference_does(encoder: nn.Sequential, class_capsules: ClassCapsules, decoder: nn.Module | None) -> None:
    """Draw weights so small that no capsule is long at the start: Glorot's normal distribution with gain 0.02.

    Weights and biases of the class capsules have a gain of 0.002. Other biases and batch normalisation keep their
    initial values. This is the reference study's code (tools.py), except that its normalisation starts within 0.02 of
    the identity.
    """
    for module in _modules(encoder, class_capsules, decoder):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain=0.02)
    # Glorot's fans depend on the layout: there it is one (1, I, J, D, K) tensor, and (1, 1, J, D) for the bias.
    nn.init.xavier_normal_(class_capsules.weight.detach()[None], gain=0.002)
    if class_capsules.bias is not None:
        nn.init.xavier_normal_(class_capsules.bias.detach()[None, None], gain=0.002)


def _modules(*parts: nn.Module | None) -> list[nn.Module]:
    return [module for part in parts if part is not None for module in part.modules()]


INITIALISATIONS: dict[str, Callable[[nn.Sequential, ClassCapsules, nn.Module | None], None]] = {
    "torch": as_torch_does,
    "reference": as_reference_does,
    "sabour": as_sabour_does,
}
