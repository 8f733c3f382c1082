"""The coupling of primary capsules to class capsules, as maps over the image.

Axes: B batch, I primary capsules, J classes, T types of primary capsules, Y X rows and columns of their grid.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from capsnet.networks.network_config import NetworkConfig, ReceptiveField


class Place(NamedTuple):
    """Type, row and column of a primary capsule."""

    type: int
    row: int
    column: int


def place(config: NetworkConfig, capsule: int) -> Place:
    """Return type, row and column of primary capsule `capsule`."""
    kind, position = divmod(capsule, config.primary_grid**2)
    return Place(kind, *divmod(position, config.primary_grid))


def coupling_maps(coupling: Float[Tensor, "B I J"], classes: Int[Tensor, " B"], types: int) -> Float[Tensor, "B T Y X"]:
    """Return the coupling of every primary capsule to the class capsule of `classes`, as one map for each type.

    Primary capsule i is (type, row, column) in row-major order. Raises ValueError if I is not `types` squares.
    """
    number = coupling.shape[1]
    side = round((number / types) ** 0.5)
    if types * side**2 != number:
        raise ValueError(f"types: got {types}, which do not divide {number} capsules into squares")
    places = torch.arange(len(coupling), device=coupling.device)
    return coupling[places, :, classes].reshape(-1, types, side, side)


def at_centres(images: Float[Tensor, "B C H W"], field: ReceptiveField, grid: int) -> Float[Tensor, "B C Y X"]:
    """Return the pixel at the centre of the receptive field of each place of the grid, or the nearest one inside."""
    centres = torch.tensor([field.centre(place) for place in range(grid)], device=images.device)
    rows, columns = (centres.round().long().clamp(0, size - 1) for size in images.shape[2:])
    return images[:, :, rows.unsqueeze(1), columns]


def foreground(images: Float[Tensor, "B C H W"], contrast: float) -> Bool[Tensor, "B H W"]:
    """Return the pixels that differ from the median of their image by more than `contrast`: they show the object."""
    grey = images.mean(1)
    return (grey - grey.flatten(1).quantile(0.5, 1, interpolation="lower")[:, None, None]).abs() > contrast


def effective_number(coupling: Float[Tensor, "B I"]) -> Float[Tensor, " B"]:
    """Return for each image over how many primary capsules the coupling is spread.

    It is e to the entropy of the coupling divided by its sum: 1 if one capsule has all of it, and I if all capsules
    have the same.
    """
    shares = coupling / coupling.sum(1, keepdim=True)
    number: Tensor = torch.special.entr(shares).sum(1).exp()
    return number
