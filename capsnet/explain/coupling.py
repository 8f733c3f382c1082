"""Where the primary capsules lie whose votes a class capsule listened to.

Axes: B batch, I primary capsules, J classes, T types of primary capsules, Y X rows and columns of their grid.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
