"""The capsule network as public PyTorch ports write it, to measure against: standard modules, every vote stored.

Axes: B batch, C channels, H W height and width, I lower capsules, J upper capsules, K and D their pose sizes.

Two formulations of the same routing, neither slowed down nor tuned. `BroadcastCapsules` makes the votes by a broadcast
matrix product, as the ports that follow the TensorFlow code do; `BmmCapsules` by one batched product over the lower
capsules, as the lean ports do. Nothing here comes from the library; the sizes are those of a `ModelConfig`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from capsnet.networks.capsnet import ModelConfig

EPSILON = 1e-8  # under the root of the squared length


def squash(vectors: Tensor, dim: int = -1) -> Tensor:
    """Shrink vectors to a length below 1: v = |s|^2 / (1 + |s|^2) s / |s|."""
    square = (vectors**2).sum(dim, keepdim=True)
    return square / (1 + square) * vectors / torch.sqrt(square + EPSILON)


class BroadcastCapsules(nn.Module):
    """Class capsules with votes W u by a broadcast product: (1, I, J, D, K) and (B, I, 1, K, 1)."""

    def __init__(self, inputs: int, input_dim: int, capsules: int, dim: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.weight = nn.Parameter(0.1 * torch.randn(1, inputs, capsules, dim, input_dim))

    def forward(self, inputs: Tensor) -> Tensor:
        votes = torch.matmul(self.weight, inputs[:, :, None, :, None])
        logits = torch.zeros(*votes.shape[:3], 1, 1, device=votes.device)
        for iteration in range(self.iterations):
            coupling = functional.softmax(logits, dim=2)
            capsules = squash((coupling * votes).sum(dim=1, keepdim=True), dim=-2)
            if iteration < self.iterations - 1:
                logits = logits + torch.matmul(votes.transpose(-1, -2), capsules)
        return capsules.squeeze(-1).squeeze(1)


class BmmCapsules(nn.Module):
    """Class capsules with votes u W by one batched product over the lower capsules: (I, B, K) and (I, K, J * D)."""

    def __init__(self, inputs: int, input_dim: int, capsules: int, dim: int, iterations: int) -> None:
        super().__init__()
        self.iterations, self.capsules, self.dim = iterations, capsules, dim
        self.weight = nn.Parameter(0.1 * torch.randn(inputs, input_dim, capsules * dim))

    def forward(self, inputs: Tensor) -> Tensor:
        votes = torch.bmm(inputs.transpose(0, 1), self.weight).transpose(0, 1).contiguous()
        votes = votes.view(*inputs.shape[:2], self.capsules, self.dim)
        logits = torch.zeros(votes.shape[:3], device=votes.device)
        for iteration in range(self.iterations):
            coupling = functional.softmax(logits, dim=-1)
            capsules = squash((coupling.unsqueeze(-1) * votes).sum(dim=1))
            if iteration < self.iterations - 1:
                logits = logits + (votes * capsules.unsqueeze(1)).sum(dim=-1)
        return capsules


def zeros(size: int, kernel: int, stride: int) -> nn.Module:
    """Return the padding that TensorFlow calls SAME: an output of ceil(size / stride), an odd zero at the end."""
    missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    before, after = missing // 2, missing - missing // 2
    return nn.ZeroPad2d((before, after, before, after))


LAYERS: dict[str, Callable[..., nn.Module]] = {"bmm": BmmCapsules, "broadcast": BroadcastCapsules}


class PlainNetwork(nn.Module):
    """Convolution, primary capsules, class capsules of one of `LAYERS`, fully connected decoder."""

    def __init__(self, layer: str, config: "ModelConfig") -> None:
        super().__init__()
        self.primary_dim, self.classes = config.primary_dim, config.classes
        same = config.padding == "same"
        wide = config.image_size if same else config.image_size - config.conv_kernel + 1
        self.pad = zeros(config.image_size, config.conv_kernel, 1) if same else nn.Identity()
        self.conv = nn.Conv2d(config.channels, config.conv_channels, config.conv_kernel)
        self.relu = nn.ReLU()
        self.pad_primary = zeros(wide, config.primary_kernel, config.primary_stride) if same else nn.Identity()
        self.primary = nn.Conv2d(
            config.conv_channels,
            config.primary_types * config.primary_dim,
            config.primary_kernel,
            stride=config.primary_stride,
        )
        self.class_capsules = LAYERS[layer](
            config.num_primary, config.primary_dim, config.classes, config.class_dim, config.routing_iterations
        )
        first, second = config.decoder_hidden
        self.decoder = nn.Sequential(
            nn.Linear(config.classes * config.class_dim, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, config.channels * config.image_size**2),
            nn.Sigmoid(),
        )

    def encode(self, images: Tensor) -> Tensor:
        """Return the primary capsules (B, I, K), ordered by type and place."""
        features = self.primary(self.pad_primary(self.relu(self.conv(self.pad(images)))))
        types = features.view(len(images), -1, self.primary_dim, features.shape[2] * features.shape[3])
        return squash(types.transpose(2, 3).reshape(len(images), -1, self.primary_dim))

    def reconstruct(self, capsules: Tensor, labels: Tensor) -> Tensor:
        """Return images, flat, from the capsules (B, J, D) of the true classes."""
        kept = functional.one_hot(labels, self.classes).unsqueeze(-1)
        return self.decoder((capsules * kept).view(len(capsules), -1))

    def losses(self, capsules: Tensor, images: Tensor, labels: Tensor, alpha: float) -> Tensor:
        """Return margin loss plus alpha times the squared error of the reconstruction, per image, averaged."""
        lengths = torch.sqrt((capsules**2).sum(dim=-1))
        true = functional.one_hot(labels, self.classes)
        margin = true * functional.relu(0.9 - lengths) ** 2 + 0.5 * (1 - true) * functional.relu(lengths - 0.1) ** 2
        error = (self.reconstruct(capsules, labels) - images.view(len(images), -1)) ** 2
        return (margin.sum(dim=1) + alpha * error.sum(dim=1)).mean()

    def forward(self, images: Tensor, labels: Tensor, alpha: float) -> Tensor:
        return self.losses(self.class_capsules(self.encode(images)), images, labels, alpha)
