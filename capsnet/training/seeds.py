"""What a seed decides: a random generator for each use, and the initial weights."""

import hashlib

import torch
from torch import Generator

from capsnet.networks.capsnet import CapsNet, NetworkConfig


def generator_for(seed: int, *use: object, device: torch.device | str = "cpu") -> Generator:
    """Return a random generator for one use of one seed, such as `generator_for(0, "order", epoch)`.

    The generators are independent of each other: switching augmentation off leaves initial weights and order as they
    were. As the epoch is part of the use, a resumed training needs no state of a generator.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *use))).encode()).digest()
    return Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def initialise(config: NetworkConfig, seed: int) -> CapsNet:
    """Build a network on the CPU with the initial weights of `seed`; torch's global generator is left unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator_for(seed, "initialisation").initial_seed())
        return CapsNet(config)
