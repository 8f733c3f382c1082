"""The passes of fused routing in plain torch, over a tile of lower capsules at a time that fits into the cache.

Axes: B batch, I lower capsules, T lower capsules of a tile, J upper capsules, K and D pose sizes of lower and upper.

No vote is computed, even within a tile. As u_hat . V = u . (W V) and sum_i c u_hat = sum_ik (c u) W, a pass is two
matrix products for each tile and upper capsule, with W V (B, K, T) and c u (B, K, T) between them. T is the last axis,
so that the processor's vector instructions run along it.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

TILE_FLOATS = 2**19  # B x J x K x T of a tile: 2 MB in float32, the size of one core's own cache


def forward_pass(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    query: Float[Tensor, "B J D"],
    leaky: bool,
) -> Float[Tensor, "B J D"]:
    """Return the totals s of one iteration; see `capsnet.networks.fused_routing.Passes`."""
    upper = query.transpose(0, 1).contiguous()
    totals = torch.zeros_like(upper)
    for part in _tiles(inputs, weight):
        totals += _forward_tile(*_tile(inputs[:, part], weight[part], upper.dtype), upper, leaky)
    return totals.transpose(0, 1)


def backward_pass(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    query: Float[Tensor, "B J D"],
    grad_totals: Float[Tensor, "B J D"],
    leaky: bool,
    grad_inputs: Float[Tensor, "B I K"],
    grad_weight: Float[Tensor, "I J K D"],
) -> Float[Tensor, "B J D"]:
    """Return the gradient of the query of one iteration, and add the others in place; see `Passes` as well."""
    upper, grad_upper = query.transpose(0, 1).contiguous(), grad_totals.transpose(0, 1).contiguous()
    grad_query = torch.zeros_like(upper)
    for part in _tiles(inputs, weight):
        poses, matrices = _tile(inputs[:, part], weight[part], upper.dtype)
        of_poses, of_matrices, of_query = _backward_tile(poses, matrices, upper, grad_upper, leaky)
        grad_inputs[:, part] += of_poses.transpose(1, 2)
        grad_weight[part] += of_matrices.unflatten(1, poses.shape[1:]).permute(2, 0, 1, 3)
        grad_query += of_query
    return grad_query.transpose(0, 1)


def coupling(
    inputs: Float[Tensor, "B I K"], weight: Float[Tensor, "I J K D"], query: Float[Tensor, "B J D"], leaky: bool
) -> Float[Tensor, "B I J"]:
    """Return the coupling of an iteration with this query."""
    upper = query.transpose(0, 1).contiguous()
    tiles = []
    for part in _tiles(inputs, weight):
        poses, matrices = _tile(inputs[:, part], weight[part], upper.dtype)
        tiles.append(_softmax((_back(upper, matrices, poses) * poses).sum(2), leaky))
    return torch.cat(tiles, 2).permute(1, 2, 0)


def _tiles(inputs: Float[Tensor, "B I K"], weight: Float[Tensor, "I J K D"]) -> Iterator[slice]:
    size = max(1, TILE_FLOATS // max(1, inputs.shape[0] * weight.shape[1] * inputs.shape[2]))
    for start in range(0, inputs.shape[1], size):
        yield slice(start, start + size)


def _tile(
    inputs: Float[Tensor, "B T K"], weight: Float[Tensor, "T J K D"], dtype: torch.dtype
) -> tuple[Float[Tensor, "B K T"], Float[Tensor, "J KT D"]]:
    return inputs.to(dtype).transpose(1, 2).contiguous(), weight.to(dtype).permute(1, 2, 0, 3).flatten(1, 2)


def _back(
    upper: Float[Tensor, "J B D"], matrices: Float[Tensor, "J KT D"], poses: Float[Tensor, "B K T"]
) -> Float[Tensor, "J B K T"]:
    """Multiply vectors of upper capsules by the matrices: W V."""
    return torch.bmm(upper, matrices.transpose(1, 2)).view(*upper.shape[:2], *poses.shape[1:])


def _softmax(logits: Float[Tensor, "J B T"], leaky: bool) -> Float[Tensor, "J B T"]:
    if not leaky:
        return logits.softmax(0)
    highest = logits.amax(0, keepdim=True).clamp(min=0)
    weights = (logits - highest).exp()
    return weights / (weights.sum(0, keepdim=True) + (-highest).exp())


def _forward_tile(
    poses: Float[Tensor, "B K T"], matrices: Float[Tensor, "J KT D"], upper: Float[Tensor, "J B D"], leaky: bool
) -> Float[Tensor, "J B D"]:
    shares = _softmax((_back(upper, matrices, poses) * poses).sum(2), leaky)
    return torch.bmm((shares.unsqueeze(2) * poses).flatten(2), matrices)


def _backward_tile(
    poses: Float[Tensor, "B K T"],
    matrices: Float[Tensor, "J KT D"],
    upper: Float[Tensor, "J B D"],
    grad_upper: Float[Tensor, "J B D"],
    leaky: bool,
) -> tuple[Float[Tensor, "B K T"], Float[Tensor, "J KT D"], Float[Tensor, "J B D"]]:
    value, grad_value = _back(upper, matrices, poses), _back(grad_upper, matrices, poses)
    shares = _softmax((value * poses).sum(2), leaky)
    grad_shares = (grad_value * poses).sum(2)
    grad_logits = shares * (grad_shares - (shares * grad_shares).sum(0))
    shares, grad_logits = shares.unsqueeze(2), grad_logits.unsqueeze(2)
    of_poses = (shares * grad_value + grad_logits * value).sum(0)
    pulled = (grad_logits * poses).flatten(2)
    of_matrices = torch.baddbmm(
        torch.bmm((shares * poses).flatten(2).transpose(1, 2), grad_upper), pulled.transpose(1, 2), upper
    )
    return of_poses, of_matrices, torch.bmm(pulled, matrices)
