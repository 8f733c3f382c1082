"""The network with self-attention routing: Efficient-CapsNet (Mazzia, Salvetti, Chiaberge 2021, arXiv 2101.12491).

A few small convolutions, followed by one depthwise kernel as large as their output, make 16 primary capsules. One pass
of self-attention routes them. Without its decoder the network has 161,824 parameters for MNIST. That is a 42nd of the
6,804,224 of the network with dynamic routing, also without its decoder.

Axes: B batch, C channels, H height and width, I primary capsules, J classes, K and D pose sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from capsnet.networks.layers import convolved_size
from capsnet.networks.network_config import Layout, NetworkConfig, ReceptiveField
from capsnet.networks.routing import Routing, self_attention_routing
from capsnet.networks.squash import exponential_squash

EPSILON = 1e-3  # of both normalisations: Keras's default
KEPT = 0.99  # share of its running means that batch normalisation keeps in a step: Keras's default
LARGEST_INITIAL_SCALE = 0.05  # scales and shifts of instance normalisation start between -0.05 and 0.05
CUT = 0.87962566103423978  # standard deviation of a standard normal distribution truncated at -2 and 2


def batch_norm(channels: int) -> nn.Module:
    """Return batch normalisation: each channel over a batch."""
    return nn.BatchNorm2d(channels, EPSILON, 1 - KEPT)


def instance_norm(channels: int) -> nn.Module:
    """Return instance normalisation: each channel of each image. It is group normalisation with a group per channel."""
    return nn.GroupNorm(channels, channels, EPSILON)


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": batch_norm, "instance": instance_norm}


@dataclass(frozen=True)
class AttentionConfig(NetworkConfig):
    """The network of Mazzia et al. 2021."""

    encoder_channels: tuple[int, ...]  # of each convolution
    encoder_kernels: tuple[int, ...]
    encoder_strides: tuple[int, ...]
    encoder_norm: str  # a key of NORMS, applied after each rectifier
    encoder_leak: float  # slope of the rectifiers below zero; 0 for ReLU
    primary_dim: int  # K

    network: ClassVar[str] = "attention"
    routing: ClassVar[str] = "self-attention routing"
    source: ClassVar[str] = "Mazzia, Salvetti, Chiaberge 2021"
    even: ClassVar[str] = "the share of every class if all get the same attention"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder_norm not in NORMS:
            raise ValueError(f"encoder_norm: got {self.encoder_norm!r}, expected one of {', '.join(NORMS)}")
        number = len(self.encoder_channels)
        for name in ("encoder_kernels", "encoder_strides"):
            if len(value := getattr(self, name)) != number or not number:
                raise ValueError(f"{name}: got {list(value)}, expected one for each of {number} encoder_channels")
        if self.encoder_channels[-1] % self.primary_dim:
            raise ValueError(
                f"primary_dim: got {self.primary_dim}, expected a divisor of the {self.encoder_channels[-1]} channels "
                "of the last convolution"
            )
        if self.feature_size < 1:
            raise ValueError(
                f"image_size: got {self.image_size}, too small for encoder_kernels {list(self.encoder_kernels)} with "
                f"encoder_strides {list(self.encoder_strides)}"
            )

    @property
    def feature_size(self) -> int:
        """Side of the convolutions' output, and of the depthwise kernel: 9 for images of 28 pixels."""
        size = self.image_size
        for kernel, stride in zip(self.encoder_kernels, self.encoder_strides, strict=True):
            size = convolved_size(size, kernel, stride, "valid") if size >= kernel else 0
        return size

    @property
    def layout(self) -> Layout:
        """One capsule of each type; each sees the whole image."""
        types = self.encoder_channels[-1] // self.primary_dim
        return Layout(types, 1, self.primary_dim, ReceptiveField(0, self.image_size, self.image_size))

    @property
    def normalises_batches(self) -> bool:
        """Whether the normalisation is batch normalisation."""
        return self.encoder_norm == "batch"

    @property
    def even_share(self) -> float:
        """One class's share in a softmax of equal numbers."""
        return 1 / self.classes

    def build_encoder(self) -> nn.Sequential:
        """Return convolutions, each rectified and then normalised, and primary capsules."""
        layers: list[nn.Module] = []
        width = self.channels
        for channels, kernel, stride in zip(
            self.encoder_channels, self.encoder_kernels, self.encoder_strides, strict=True
        ):
            layers += [nn.Conv2d(width, channels, kernel, stride)]
            layers += [nn.LeakyReLU(self.encoder_leak, inplace=True) if self.encoder_leak else nn.ReLU(inplace=True)]
            layers += [NORMS[self.encoder_norm](channels)]
            width = channels
        return nn.Sequential(*layers, DepthwiseCapsules(width, self.feature_size, self.primary_dim))

    def build_class_capsules(self) -> nn.Module:
        """Return the layer of self-attention routing."""
        return AttentionCapsules(self.num_primary, self.primary_dim, self.classes, self.class_dim)

    def initialise(self, encoder: nn.Sequential, class_capsules: nn.Module, decoder: nn.Module | None) -> None:
        """Draw the weights as the authors' code does; biases are zero.

        Most weights have He's normal distribution. Primary capsules and decoders with convolutions have Keras's
        default, Glorot's uniform distribution. The last layer of the fully connected decoder has Glorot's normal one.
        """
        for layer in encoder:
            if isinstance(layer, nn.Conv2d):
                _cut_normal(layer.weight, 2 / layer.weight[0].numel())
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            elif isinstance(layer, nn.GroupNorm):
                nn.init.uniform_(layer.weight, -LARGEST_INITIAL_SCALE, LARGEST_INITIAL_SCALE)
                nn.init.uniform_(layer.bias, -LARGEST_INITIAL_SCALE, LARGEST_INITIAL_SCALE)
        weighted = [] if decoder is None else [module for module in decoder.modules() if hasattr(module, "weight")]
        layers = [module for module in weighted if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
        connected = all(isinstance(layer, nn.Linear) for layer in layers)
        for place, layer in enumerate(layers, 1):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            if not connected:
                nn.init.xavier_uniform_(layer.weight)
            elif place < len(layers):
                _cut_normal(layer.weight, 2 / layer.weight.shape[1])
            else:
                _cut_normal(layer.weight, 2 / sum(layer.weight.shape))


class DepthwiseCapsules(nn.Module):
    """Primary capsules that see the whole image: each channel has its own kernel, as large as the features.

    Channel `type * dim + d` is coordinate d of that type's capsule. The kernel fits at a single place, so that the
    convolution is a product and a sum (Mazzia et al. 2021, section 2).
    """

    def __init__(self, channels: int, size: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        # The fans as Keras computes them: size^2 inputs, and size^2 outputs for each channel.
        bound = sqrt(6 / (size**2 * (1 + channels)))
        self.weight = nn.Parameter(torch.empty(channels, size, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Float[Tensor, "B C H H"]) -> Float[Tensor, "B I K"]:
        # Convolutions may be in half precision, capsules never are.
        sums = (features.to(self.weight.dtype) * self.weight).sum((2, 3)) + self.bias
        return exponential_squash(sums.unflatten(1, (-1, self.dim)))


class AttentionCapsules(nn.Module):
    """Capsules fully connected to the layer below by self-attention routing, with a K x D matrix for each pair.

    The matrices start with He's normal distribution, with the fans that Keras computes for a (J, I, K, D) tensor; the
    prior starts at zero.
    """

    def __init__(self, inputs: int, input_dim: int, capsules: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, capsules, input_dim, dim))
        _cut_normal(self.weight, 2 / (inputs * capsules * input_dim))
        self.prior = nn.Parameter(torch.zeros(inputs, capsules))

    def forward(self, inputs: Float[Tensor, "B I K"], with_coupling: bool = False) -> Routing:
        return self_attention_routing(inputs, self.weight, self.prior, with_coupling=with_coupling)


def _cut_normal(weight: Tensor, variance: float) -> None:
    """Draw from a normal distribution that is truncated at two standard deviations and has this variance."""
    deviation = sqrt(variance) / CUT
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)
