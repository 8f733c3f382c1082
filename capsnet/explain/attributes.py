"""How much of the variation of a capsule's dimensions an attribute of the images explains.

Axes: N images, D pose size, P columns of the attribute.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def explained(poses: Float[Tensor, "N D"], known: Float[Tensor, "N P"]) -> Float[Tensor, " D"]:
    """Return R^2 of each dimension: the share of its variance that a least-squares fit on `known` explains.

    With the cosine and sine of an angle as columns, this is the squared circular-linear correlation (Mardia and Jupp
    2000, section 11.2). It is 0 for a dimension that does not vary. Computed in double precision on the CPU.
    """
    values, columns = ((each.cpu().double() - each.cpu().double().mean(0)) for each in (poses, known))
    residual = values - columns @ torch.linalg.lstsq(columns, values, driver="gelsd").solution
    total = values.square().sum(0)
    return torch.where(total > 0, 1 - residual.square().sum(0) / total, torch.zeros_like(total))
