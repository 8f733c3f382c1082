"""The two capsule layers: they own the weights and call the functions of `capsnet.routing`.

Axes: B batch, C channels, H W height and width, I lower capsules, J upper capsules, K and D their pose sizes.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from capsnet.kernels.fourier import conv2d
from capsnet.routing import Routing, dynamic_routing, squash


class PrimaryCapsules(nn.Module):
    """Convolutional capsules: types x grid positions, each a squashed vector (Sabour et al. 2017, section 4).

    Channel `type * dim + d` of the convolution is coordinate d of that type, and capsule i = (type, y, x) in row-major
    order. A plain `view` of the convolution's output would mix channels with positions.
    """

    def __init__(self, channels: int, types: int, dim: int, kernel: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.dim = dim
        self.conv = nn.Conv2d(channels, types * dim, kernel, stride)
        self.norm = nn.BatchNorm2d(types * dim) if batch_norm else nn.Identity()

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B I K"]:
        channels = conv2d(features, self.conv.weight, self.conv.bias, self.conv.stride[0])
        # Convolutions may be in half precision, capsules never are.
        poses = self.norm(channels.to(self.conv.weight.dtype)).unflatten(1, (-1, self.dim))
        return squash(poses.permute(0, 1, 3, 4, 2).flatten(1, 3))


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
        self.weight = nn.Parameter(0.1 * torch.randn(inputs, capsules, input_dim, dim))
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
