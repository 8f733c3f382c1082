"""Where the primary capsules lie whose votes a class capsule listened to.

Axes: B batch, I primary capsules, J classes, T types of primary capsules, Y X rows and columns of their grid.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from capsnet.networks.config import NetworkConfig, ReceptiveField


class Place(NamedTuple):
    """What kind of primary capsule, and where."""

    type: int
    row: int
    column: int


def receptive_field(config: NetworkConfig) -> ReceptiveField:
    """Return what the primary capsules see."""
    return config.layout.field


def place(config: NetworkConfig, capsule: int) -> Place:
    """Return type, row and column of primary capsule `capsule`."""
    kind, position = divmod(capsule, config.primary_grid**2)
    return Place(kind, *divmod(position, config.primary_grid))


def coupling_maps(coupling: Float[Tensor, "B I J"], classes: Int[Tensor, " B"], types: int) -> Float[Tensor, "B T Y X"]:
    """Return the coupling of every primary capsule to the class capsule of `classes`, laid out as the capsules are.

    Primary capsule i is (type, row, column) in this order. Raises ValueError if I is not `types` squares.
    """
    number = coupling.shape[1]
    side = round((number / types) ** 0.5)
    if types * side**2 != number:
        raise ValueError(f"types: got {types}, which do not cut {number} capsules into squares")
    places = torch.arange(len(coupling), device=coupling.device)
    return coupling[places, :, classes].reshape(-1, types, side, side)


def at_centres(images: Float[Tensor, "B C H W"], field: ReceptiveField, grid: int) -> Float[Tensor, "B C Y X"]:
    """Return the pixel in the middle of what each of the `grid` x `grid` places sees, or the nearest one inside."""
    centres = torch.tensor([field.centre(place) for place in range(grid)], device=images.device)
    rows, columns = (centres.round().long().clamp(0, size - 1) for size in images.shape[2:])
    return images[:, :, rows.unsqueeze(1), columns]


def on_figure(images: Float[Tensor, "B C H W"], contrast: float) -> Bool[Tensor, "B H W"]:
    """Tell figure from background: pixels whose mean over the channels differs from their image's median by more."""
    grey = images.mean(1)
    return (grey - grey.flatten(1).quantile(0.5, 1, interpolation="lower")[:, None, None]).abs() > contrast


def effective_number(coupling: Float[Tensor, "B I"]) -> Float[Tensor, " B"]:
    """Return 2 to the entropy, in bits, of the coupling coefficients of each image taken as shares of their sum.

    So many primary capsules of equal coupling would be as concentrated: 1 if all is in one, I if it is spread evenly.
    """
    shares = coupling / coupling.sum(1, keepdim=True)
    number: Tensor = torch.special.entr(shares).sum(1).exp()
    return number
