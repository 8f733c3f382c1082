"""Which training images are held out for validation.

Axes: N images, T images to train on, V images held out.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from capsnet.training.seeds import generator_for


class Places(NamedTuple):
    """The places of the images to train on, and of the images held out, if any."""

    training: Int64[Tensor, " T"]
    validation: Int64[Tensor, " V"] | None


def hold_out(labels: Int64[Tensor, " N"], share: float, seed: int, groups: Int64[Tensor, " N"] | None = None) -> Places:
    """Choose a share of the images at random or, with `groups`, of the groups; images of a group stay together.

    Raises ValueError if no image would be left to train on.
    """
    images = torch.arange(len(labels), device=labels.device)
    if share == 0:
        return Places(images, None)
    names = images if groups is None else groups.unique()
    number = max(1, round(share * len(names)))
    if number >= len(names):
        kind = "images" if groups is None else "groups of images"
        raise ValueError(f"validation: got {share}, which leaves none of {len(names)} {kind} to train on")
    order = names[torch.randperm(len(names), generator=generator_for(seed, "validation")).to(names.device)]
    if groups is None:
        return Places(order[number:], order[:number])
    chosen = torch.isin(groups, order[:number])
    return Places(torch.nonzero(~chosen).flatten(), torch.nonzero(chosen).flatten())
