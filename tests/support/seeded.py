"""Random numbers, images and networks that are the same each time."""

import torch
from torch import Generator, Tensor

from capsnet.networks.capsnet import CapsNet, NetworkConfig


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    """Draw grey levels as in a data set."""
    return torch.randint(0, 256, shape, generator=generator(3), dtype=torch.uint8)


def pixels(*shape: int) -> Tensor:
    """Draw pixels from 0 to 1 in float64."""
    return torch.rand(shape, generator=generator(4), dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Draw normal numbers in float64."""
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def pictures(config: NetworkConfig, number: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw images from 0 to 1 that a network takes."""
    return torch.rand(
        number, config.channels, config.image_size, config.image_size, generator=generator(1), dtype=dtype
    )


def network(config: NetworkConfig) -> CapsNet:
    """Build a float64 network with the same weights each time, in evaluation mode."""
    torch.manual_seed(0)
    return CapsNet(config).double().eval()
