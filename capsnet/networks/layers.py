"""The capsule layers of dynamic routing: modules that own the weights and call the functions of the library.

Axes: B batch, C channels, H W height and width, I lower capsules, J upper capsules, K and D their pose sizes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from capsnet.kernels.convolution import conv2d, torch_conv2d
from capsnet.networks.routing import Routing, dynamic_routing
from capsnet.networks.squash import squash


def no_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after: none, because the kernel stays inside the image."""
    return 0, 0


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many zeros before and after make the output ceil(size / stride) pixels long.

    This is TensorFlow's SAME: of an odd number of zeros, the greater half comes after.
    """
    zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return zeros // 2, zeros - zeros // 2


# torch uses the same names, for convolutions of stride 1 only.
PADDINGS: dict[str, Callable[[int, int, int], tuple[int, int]]] = {"valid": no_padding, "same": same_padding}


def convolved_size(size: int, kernel: int, stride: int, padding: str) -> int:
    """Return the side in pixels of a convolution's output, given that of its input."""
    return (size + sum(PADDINGS[padding](size, kernel, stride)) - kernel) // stride + 1


class PrimaryCapsules(nn.Module):
    """Convolutional capsules: types x grid positions, each a squashed vector (Sabour et al. 2017, section 4).

    Channel `type * dim + d` of the convolution is coordinate d of that type, and capsule i = (type, y, x) in row-major
    order. A plain `view` of the convolution's output would mix channels with positions.

    With `rectify` the layer itself applies the ReLU to the features, without a copy of them. `scale` multiplies the
    convolution before its bias is added. In the authors' code there is a single routing iteration between convolution
    and squash; its coupling, 1 / types or 1 / (types + 1) with leaky routing, is such a scale.

    While `fast` is False, the layer uses torch's own operations only.
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
        self.fast = True
        self.dim = dim
        self.rectify = rectify
        self.padding = PADDINGS[padding]
        self.scale = scale
        self.conv = nn.Conv2d(channels, types * dim, kernel, stride)
        self.norm = nn.BatchNorm2d(types * dim) if batch_norm else nn.Identity()

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B I K"]:
        stride = self.conv.stride[0]
        before, after = self.padding(features.shape[2], self.conv.weight.shape[2], stride)
        padded = functional.pad(features, [before, after, before, after]) if before or after else features
        # The weights are scaled, not the convolution's output, because they are fewer.
        weight = self.conv.weight if self.scale == 1 else self.scale * self.conv.weight
        convolve = conv2d if self.fast else torch_conv2d
        channels = convolve(padded, weight, self.conv.bias, stride, rectify=self.rectify)
        # Convolutions may be in half precision, capsules never are.
        poses = self.norm(channels.to(self.conv.weight.dtype)).unflatten(1, (-1, self.dim))
        return squash(poses.permute(0, 1, 3, 4, 2).flatten(1, 3))


class ClassCapsules(nn.Module):
    """Capsules fully connected to the layer below by dynamic routing, with a K x D matrix for each pair of capsules.

    The matrices start as N(0, 0.1^2), as in the authors' code, and the optional bias starts at 0.1, as there. While
    `fast` is False, the layer uses torch's own operations only.
    """

    def __init__(
        self, inputs: int, input_dim: int, capsules: int, dim: int, *, iterations: int, bias: bool, leaky: bool
    ) -> None:
        super().__init__()
        self.fast = True
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
            implementation="auto" if self.fast else "plain",
        )
