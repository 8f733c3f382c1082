"""Squashing: shrink vectors to a length below 1 and keep their direction."""

import torch
from jaxtyping import Float
from torch import Tensor


def squash(vectors: Float[Tensor, "*axes"], dim: int = -1) -> Float[Tensor, "*axes"]:
    """Shrink vectors to a length below 1 and keep their direction: v = s |s| / (1 + |s|^2).

    The length |s|^2 / (1 + |s|^2) can be read as a probability (Sabour et al. 2017, equation 1). The zero vector maps
    to itself, with gradient zero.
    """
    square = vectors.square().sum(dim, keepdim=True)
    # The smallest normal number changes no other length (float16 apart) and gives the root a derivative at zero.
    length = (square + torch.finfo(vectors.dtype).tiny).sqrt()
    return vectors * (length / (1 + square))


def exponential_squash(vectors: Float[Tensor, "*axes"], dim: int = -1) -> Float[Tensor, "*axes"]:
    """Shrink vectors to a length below 1 and keep their direction: v = (1 - exp(-|s|)) s / |s|.

    Short vectors keep their length to first order, whereas `squash` makes it quadratically small (Mazzia et al. 2021,
    section 2). The zero vector maps to itself, with the identity as its derivative.
    """
    square = vectors.square().sum(dim, keepdim=True)
    # The smallest normal number changes no other length (float16 apart) and gives the root a derivative at zero.
    length = (square + torch.finfo(vectors.dtype).tiny).sqrt()
    return vectors * (-torch.expm1(-length) / length)
