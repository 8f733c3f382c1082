"""Squash and routing by agreement (Sabour, Frosst, Hinton 2017, section 2 and procedure 1).

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

TILE = 16  # images whose votes are made at a time on a CPU; the result does not depend on it beyond rounding


class Routing(NamedTuple):
    """What routing returns: the upper capsules and how each lower capsule divided itself among them."""

    capsules: Float[Tensor, "B J D"]
    coupling: Float[Tensor, "B I J"]


def squash(vectors: Float[Tensor, "*axes"], dim: int = -1) -> Float[Tensor, "*axes"]:
    """Shrink vectors to a length below 1 and keep their direction: v = s |s| / (1 + |s|^2).

    The length |s|^2 / (1 + |s|^2) can be read as a probability (Sabour et al. 2017, equation 1). The zero vector maps
    to itself, with gradient zero.
    """
    square = vectors.square().sum(dim, keepdim=True)
    # The smallest normal number changes no other length (float16 apart) and gives the root a derivative at zero.
    length = (square + torch.finfo(vectors.dtype).tiny).sqrt()
    return vectors * (length / (1 + square))


def dynamic_routing(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None = None,
    *,
    iterations: int = 3,
    leaky: bool = False,
    implementation: str = "auto",
) -> Routing:
    """Route lower capsules to upper capsules by agreement (Sabour et al. 2017, procedure 1).

    Every lower capsule i casts a vote u_hat[i, j] = u[i] W[i, j] for every upper capsule j. In each iteration

        c[i, :] = softmax(b[i, :])                  coupling: sums to 1 over the upper capsules
        v[j] = squash(sum_i c[i, j] u_hat[i, j] + bias[j])
        b[i, j] += u_hat[i, j] . v[j]               agreement

    starting from b = 0. Gradients flow through all iterations, as in the authors' code.

    `leaky` adds one upper capsule that nobody looks at: a zero logit in the softmax, dropped afterwards, so that a
    lower capsule which fits nowhere may abstain and its coupling sums to less than 1 (the authors' code).
    The coupling returned is the one that made the returned capsules.

    Raises ValueError if `iterations` is below 1 or `implementation` is not one of `IMPLEMENTATIONS`.
    """
    if iterations < 1:
        raise ValueError(f"iterations: got {iterations}, expected at least 1")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation: got {implementation!r}, expected one of {', '.join(IMPLEMENTATIONS)}")
    return IMPLEMENTATIONS[implementation](inputs, weight, bias, iterations, leaky)


def _auto_routing(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None,
    iterations: int,
    leaky: bool,
) -> Routing:
    chosen = _tiled_routing if inputs.device.type == "cpu" else _plain_routing
    return chosen(inputs, weight, bias, iterations, leaky)


def _plain_routing(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None,
    iterations: int,
    leaky: bool,
) -> Routing:
    votes = _votes(inputs, weight)
    logits = votes.new_zeros(votes.shape[:3])
    for iteration in range(iterations):
        coupling = _leaky_softmax(logits) if leaky else logits.softmax(1)
        total = (coupling.unsqueeze(2) @ votes).squeeze(2)
        capsules = squash(total if bias is None else total + bias)
        if iteration < iterations - 1:
            logits = logits + (votes @ capsules.unsqueeze(3)).squeeze(3)
    return Routing(capsules, coupling.transpose(1, 2))


def _tiled_routing(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None,
    iterations: int,
    leaky: bool,
) -> Routing:
    """Route a few images at a time: their votes stay in the processor's cache, and half of the time is saved."""
    tiles = [_plain_routing(tile, weight, bias, iterations, leaky) for tile in inputs.split(TILE)]
    return Routing(torch.cat([tile.capsules for tile in tiles]), torch.cat([tile.coupling for tile in tiles]))


def _votes(inputs: Float[Tensor, "B I K"], weight: Float[Tensor, "I J K D"]) -> Float[Tensor, "B J I D"]:
    # One matrix product per lower capsule; J before I makes the sums over I of every iteration matrix products too.
    num_lower, num_upper, pose, upper_pose = weight.shape
    flat = inputs.transpose(0, 1) @ weight.transpose(1, 2).reshape(num_lower, pose, num_upper * upper_pose)
    return flat.reshape(num_lower, -1, num_upper, upper_pose).permute(1, 2, 0, 3).contiguous()


def _leaky_softmax(logits: Float[Tensor, "B J I"]) -> Float[Tensor, "B J I"]:
    nobody = torch.zeros_like(logits[:, :1])
    return torch.cat([nobody, logits], 1).softmax(1)[:, 1:]


IMPLEMENTATIONS = {"auto": _auto_routing, "plain": _plain_routing, "tiled": _tiled_routing}
