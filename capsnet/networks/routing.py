"""Two ways to route lower capsules to upper ones, and the squash of each.

Routing by agreement is that of Sabour, Frosst, Hinton 2017, section 2 and procedure 1; self-attention routing that of
Mazzia, Salvetti, Chiaberge 2021, *Efficient-CapsNet*, section 2.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.amp import is_autocast_available


class Routing(NamedTuple):
    """What routing returns: the upper capsules and, if asked, how each lower capsule divided itself among them."""

    capsules: Float[Tensor, "B J D"]
    coupling: Float[Tensor, "B I J"] | None


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
    with_coupling: bool = False,
    implementation: str = "auto",
) -> Routing:
    """Route lower capsules to upper capsules by agreement (Sabour et al. 2017, procedure 1).

    Every lower capsule i casts a vote u_hat[i, j] = u[i] W[i, j] for every upper capsule j. In each iteration

        c[i, :] = softmax(b[i, :])                  coupling: sums to 1 over the upper capsules
        v[j] = squash(sum_i c[i, j] u_hat[i, j] + bias[j])
        b[i, j] += u_hat[i, j] . v[j]               agreement

    starting from b = 0. Gradients flow through all iterations, as in the authors' code. Inputs and weights in half
    precision are routed, and the capsules returned, in float32.

    `leaky` adds one upper capsule that nobody looks at: a zero logit in the softmax, dropped afterwards, so that a
    lower capsule which fits nowhere may abstain and its coupling sums to less than 1 (the authors' code).
    `with_coupling` asks for the coupling that made the returned capsules; it carries no gradient.
    `implementation` is a key of `IMPLEMENTATIONS`: "plain" follows the lines above and keeps all votes, the others
    give the same to rounding without ever storing votes (`capsnet.networks.fused_routing`), and "auto" takes the
    fastest.

    Raises ValueError if `iterations` is below 1, `implementation` unknown or not for the inputs' device.
    """
    if iterations < 1:
        raise ValueError(f"iterations: got {iterations}, expected at least 1")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation: got {implementation!r}, expected one of {', '.join(IMPLEMENTATIONS)}")
    with _float32_even_under_autocast(inputs.device.type):
        return IMPLEMENTATIONS[implementation](inputs, weight, bias, iterations, leaky, with_coupling)


def exponential_squash(vectors: Float[Tensor, "*axes"], dim: int = -1) -> Float[Tensor, "*axes"]:
    """Shrink vectors to a length below 1 and keep their direction: v = (1 - exp(-|s|)) s / |s|.

    Short vectors keep their length in the first order, where `squash` makes them vanish (Mazzia et al. 2021, section
    2). The zero vector maps to itself, with the identity as its derivative.
    """
    square = vectors.square().sum(dim, keepdim=True)
    # The smallest normal number changes no other length (float16 apart) and gives the root a derivative at zero.
    length = (square + torch.finfo(vectors.dtype).tiny).sqrt()
    return vectors * (-torch.expm1(-length) / length)


def self_attention_routing(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    prior: Float[Tensor, "I J"] | None = None,
    *,
    with_coupling: bool = False,
) -> Routing:
    """Route lower capsules to upper capsules by the attention that votes for the same one pay to each other.

    Every lower capsule i casts a vote u_hat[i, j] = u[i] W[i, j] for every upper capsule j. In a single pass

        a[i, j] = sum_k u_hat[i, j] . u_hat[k, j] / sqrt(D)     attention: agreement with all votes for j
        c[i, :] = softmax(a[i, :])                              coupling: sums to 1 over the upper capsules
        v[j] = squash(sum_i (c[i, j] + prior[i, j]) u_hat[i, j])

    with `exponential_squash` (Mazzia et al. 2021, section 2 and figure 3). The `prior` is learned, the same for all
    images, and not in the coupling that is returned. Inputs and weights in half precision are routed, and the capsules
    returned, in float32. `with_coupling` asks for the coupling, which carries no gradient.
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


def _plain(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None,
    iterations: int,
    leaky: bool,
    with_coupling: bool,
) -> Routing:
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
    return Routing(capsules, coupling.detach() if with_coupling else None)


def _leaky_softmax(logits: Float[Tensor, "B I J"]) -> Float[Tensor, "B I J"]:
    nobody = torch.zeros_like(logits[:, :, :1])
    return torch.cat([nobody, logits], 2).softmax(2)[:, :, 1:]


def _fused(passes: str) -> Callable[..., Routing]:
    def route(*arguments: Any) -> Routing:
        from capsnet.networks.fused_routing import fused_routing

        return fused_routing(passes, *arguments)

    return route


IMPLEMENTATIONS: dict[str, Callable[..., Routing]] = {
    "plain": _plain,
    **{passes: _fused(passes) for passes in ("auto", "tiled", "compiled", "triton")},
}
