"""Two ways to route lower capsules to upper capsules: by agreement, and by self-attention.

Routing by agreement is that of Sabour, Frosst, Hinton 2017, section 2 and procedure 1. Self-attention routing is that
of Mazzia, Salvetti, Chiaberge 2021, *Efficient-CapsNet*, section 2.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.amp import is_autocast_available

from capsnet.networks.fused_routing import fused_routing
from capsnet.networks.squash import exponential_squash, squash


class Routing(NamedTuple):
    """The upper capsules and, if asked for, the coupling of each lower capsule to them."""

    capsules: Float[Tensor, "B J D"]
    coupling: Float[Tensor, "B I J"] | None


def dynamic_routing(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None = None,
    *,
    iterations: int = 3,
    leaky: bool = False,
    with_coupling: bool = False,
    implementation: str = "auto",
) -> Routing:
    """Route lower capsules to upper capsules by agreement (Sabour et al. 2017, procedure 1).

    Every lower capsule i casts a vote u_hat[i, j] = u[i] W[i, j] for every upper capsule j. In each iteration

        c[i, :] = softmax(b[i, :])                  coupling: sums to 1 over the upper capsules
        v[j] = squash(sum_i c[i, j] u_hat[i, j] + bias[j])
        b[i, j] += u_hat[i, j] . v[j]               agreement

    starting from b = 0. Gradients flow through all iterations, as in the authors' code.

    Args:
        inputs: The lower capsules. In half precision they are converted to float32, and so is `weight`.
        weight: A K x D matrix for each pair of a lower and an upper capsule.
        bias: Added to the weighted sum of the votes; none by default.
        iterations: Number of iterations, at least 1.
        leaky: Add a zero logit to the softmax and drop its share afterwards, as in the authors' code. A lower capsule
            that agrees with no upper capsule can then abstain: its coupling sums to less than 1.
        with_coupling: Also return the coupling of the last iteration, without gradient.
        implementation: A key of `IMPLEMENTATIONS`. "plain" follows the lines above and stores all votes. The others
            give the same result up to rounding and store no votes (`capsnet.networks.fused_routing`). "auto" takes the
            fastest one.

    Returns:
        The upper capsules, at least in float32, and their coupling.

    Raises:
        ValueError: If `iterations` is below 1, or `implementation` is unknown or not for the device of the inputs.
    """
    if iterations < 1:
        raise ValueError(f"iterations: got {iterations}, expected at least 1")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation: got {implementation!r}, expected one of {', '.join(IMPLEMENTATIONS)}")
    with _float32_even_under_autocast(inputs.device.type):
        return Routing(*IMPLEMENTATIONS[implementation](inputs, weight, bias, iterations, leaky, with_coupling))


def self_attention_routing(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    prior: Float[Tensor, "I J"] | None = None,
    *,
    with_coupling: bool = False,
) -> Routing:
    """Route lower capsules to upper capsules by the attention that votes for the same upper capsule pay to each other.

    Every lower capsule i casts a vote u_hat[i, j] = u[i] W[i, j] for every upper capsule j. In a single pass

        a[i, j] = sum_k u_hat[i, j] . u_hat[k, j] / sqrt(D)     attention: agreement with all votes for j
        c[i, :] = softmax(a[i, :])                              coupling: sums to 1 over the upper capsules
        v[j] = squash(sum_i (c[i, j] + prior[i, j]) u_hat[i, j])

    with `exponential_squash` (Mazzia et al. 2021, section 2 and figure 3).

    Args:
        inputs: The lower capsules. In half precision they are converted to float32, and so is `weight`.
        weight: A K x D matrix for each pair of a lower and an upper capsule.
        prior: A learned addition to the coupling, the same for all images; none by default.
        with_coupling: Also return the coupling, without the prior and without gradient.

    Returns:
        The upper capsules, at least in float32, and their coupling.
    """
    dtype = torch.promote_types(inputs.dtype, torch.float32)
    with _float32_even_under_autocast(inputs.device.type):
        votes = torch.einsum("bik,ijkd->bijd", inputs.to(dtype), weight.to(dtype))
        query = votes.sum(1, keepdim=True) / votes.shape[3] ** 0.5
        coupling = (votes * query).sum(3).softmax(2)
        shares = coupling if prior is None else coupling + prior.to(dtype)
        capsules = exponential_squash((shares.unsqueeze(3) * votes).sum(1))
    return Routing(capsules, coupling.detach() if with_coupling else None)


def _float32_even_under_autocast(device_type: str) -> AbstractContextManager[None]:
    # The meta device has no autocast.
    return torch.autocast(device_type, enabled=False) if is_autocast_available(device_type) else nullcontext()


def _routing_with_stored_votes(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None,
    iterations: int,
    leaky: bool,
    with_coupling: bool,
) -> tuple[Float[Tensor, "B J D"], Float[Tensor, "B I J"] | None]:
    dtype = torch.promote_types(inputs.dtype, torch.float32)
    votes = torch.einsum("bik,ijkd->bijd", inputs.to(dtype), weight.to(dtype))
    added = None if bias is None else bias.to(dtype)
    logits = votes.new_zeros(votes.shape[:3])
    for iteration in range(iterations):
        coupling = _leaky_softmax(logits) if leaky else logits.softmax(2)
        total = torch.einsum("bij,bijd->bjd", coupling, votes)
        capsules = squash(total if added is None else total + added)
        if iteration < iterations - 1:
            logits = logits + torch.einsum("bijd,bjd->bij", votes, capsules)
    return capsules, coupling.detach() if with_coupling else None


def _leaky_softmax(logits: Float[Tensor, "B I J"]) -> Float[Tensor, "B I J"]:
    abstention = torch.zeros_like(logits[:, :, :1])
    return torch.cat([abstention, logits], 2).softmax(2)[:, :, 1:]


IMPLEMENTATIONS: dict[str, Callable[..., tuple[Tensor, Tensor | None]]] = {
    "plain": _routing_with_stored_votes,
    "auto": partial(fused_routing, "auto"),
    "tiled": partial(fused_routing, "tiled"),
    "triton": partial(fused_routing, "triton"),
}
