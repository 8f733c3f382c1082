"""The capsule layers of dynamic routing: they own the weights and call the functions of `capsnet.networks.routing`.

Axes: B batch, C channels, H W height and width, I lower capsules, J upper capsules, K and D their pose sizes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from capsnet.kernels.fourier import conv2d
from capsnet.networks.routing import Routing, dynamic_routing, squash


def no_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return no zeros: the kernel stays inside the image."""
    return 0, 0


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after a side that make the output ceil(size / stride) pixels long.

    TensorFlow's SAME: of an odd number the greater half comes after.
    """
    zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return zeros // 2, zeros - zeros // 2


# The names are torch's too, for convolutions of stride 1.
PADDINGS: dict[str, Callable[[int, int, int], tuple[int, int]]] = {"valid": no_padding, "same": same_padding}


def convolved_size(size: int, kernel: int, stride: int, padding: str) -> int:
    """Return the side of what a convolution makes of an image."""
    return (size + sum(PADDINGS[padding](size, kernel, stride)) - kernel) // stride + 1


class PrimaryCapsules(nn.Module):
    """Convolutional capsules: types x grid positions, each a squashed vector (Sabour et al. 2017, section 4).

    Channel `type * dim + d` of the convolution is coordinate d of that type, and capsule i = (type, y, x) in row-major
    order. A plain `view` of the convolution's output would mix channels with positions.

    With `rectify` the layer takes features before their ReLU, which it can apply without memory of its own.
    `scale` multiplies the convolution before its bias is added: in the authors' code a single routing iteration stands
    between the convolution and squash, whose coupling is 1 / types, with leaky routing 1 / (types + 1).
    """

    def __init__(
        self,
        channels: int,
        types: int,
        dim: int,
        kernel: int,
        stride: int,
        batch_norm: bool,
        *,
        rectify: bool = False,
        padding: str = "valid",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.rectify = rectify
        self.padding = PADDINGS[padding]
        self.scale = scale
        self.conv = nn.Conv2d(channels, types * dim, kernel, stride)
        self.norm = nn.BatchNorm2d(types * dim) if batch_norm else nn.Identity()

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B I K"]:
        stride = self.conv.stride[0]
        zeros = self.padding(features.shape[2], self.conv.weight.shape[2], stride)
        padded = nn.functional.pad(features, 2 * zeros) if any(zeros) else features
        # Of the two the weights are smaller than the convolution's output.
        weight = self.conv.weight if self.scale == 1 else self.scale * self.conv.weight
        channels = conv2d(padded, weight, self.conv.bias, stride, rectify=self.rectify)
        # Convolutions may be in half precision, capsules never are.
        poses = self.norm(channels.to(self.conv.weight.dtype)).unflatten(1, (-1, self.dim))
        return squash(poses.permute(0, 1, 3, 4, 2).flatten(1, 3))

    def plain(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B I K"]:
        """Do the same with torch's own convolution."""
        weight, stride = self.conv.weight, self.conv.stride[0]
        zeros = self.padding(features.shape[2], weight.shape[2], stride)
        padded = nn.functional.pad(features.relu() if self.rectify else features, 2 * zeros)
        channels = self.norm(nn.functional.conv2d(padded, self.scale * weight, self.conv.bias, stride))
        return squash(channels.unflatten(1, (-1, self.dim)).permute(0, 1, 3, 4, 2).flatten(1, 3))


class ClassCapsules(nn.Module):
    """Capsules fully connected to the layer below, one K x D matrix a pair, joined by dynamic routing.

    The matrices start as N(0, 0.1^2), the standard deviation of the authors' code; the optional bias starts at 0.1, as
    there.
    """

    def __init__(
        self, inputs: int, input_dim: int, capsules: int, dim: int, *, iterations: int, bias: bool, leaky: bool
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.leaky = leaky
        self.weight = nn.Parameter(torch.empty(inputs, capsules, input_dim, dim).normal_().mul_(0.1))
        self.bias = nn.Parameter(torch.full((capsules, dim), 0.1)) if bias else None

    def forward(self, inputs: Float[Tensor, "B I K"], with_coupling: bool = False) -> Routing:
        return dynamic_routing(
            inputs,
            self.weight,
            self.bias,
            iterations=self.iterations,
            leaky=self.leaky,
            with_coupling=with_coupling,
        )

    def plain(self, inputs: Float[Tensor, "B I K"]) -> Routing:
        """Route with all votes kept: in torch's own operations."""
        return dynamic_routing(
            inputs,
            self.weight,
            self.bias,
            iterations=self.iterations,
            leaky=self.leaky,
            implementation="plain",
        )
