"""Routing by agreement without storing votes: forward and backward as passes over the lower capsules.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.

With V(1) = 0 and V(r + 1) = V(r) + v(r), the logits of iteration r are u_hat[i, j] . V(r)[j]. Nothing is accumulated
for a lower capsule, so an iteration is one pass that makes votes when it needs them and discards them at once:

    s(r)[j] = sum_i softmax_j(u_hat[i, :] . V(r)) u_hat[i, j],        v(r) = squash(s(r) + bias).

This is attention with the upper capsules as queries V and the votes as both keys and values. The gradient is one such
pass for each iteration, too, from the last iteration to the second (`Passes`); in the first one the coupling is
uniform. Only s and V of each iteration are stored between forward and backward.
"""

import functools
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from capsnet.kernels import tiles
from capsnet.networks.squash import squash


class Passes(NamedTuple):
    """A forward and a backward pass over all lower capsules, for one kind of device.

    `forward(inputs, weight, query, leaky)` returns the totals s (B, J, D).
    `backward(inputs, weight, query, grad_totals, leaky, grad_inputs, grad_weight)` adds to the last two in place and
    returns the gradient of the query. With c the coupling and g the gradient of s:

        dc[i, j] = u_hat[i, j] . g[j],   db = c (dc - sum_j c dc),   dV[j] = sum_i db[i, j] u_hat[i, j],
        du_hat = c g + db V,             du = du_hat W^T,            dW = u^T du_hat.

    Inputs and weight may be in half precision; everything else, and every sum, is at least float32.
    """

    forward: Callable[..., Tensor]
    backward: Callable[..., Tensor]


def fused_routing(
    passes: str,
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    bias: Float[Tensor, "J D"] | None,
    iterations: int,
    leaky: bool,
    with_coupling: bool,
) -> tuple[Float[Tensor, "B J D"], Float[Tensor, "B I J"] | None]:
    """Route as `capsnet.dynamic_routing` does; `passes` is a key of `PASSES` or "auto".

    Returns the upper capsules and, with `with_coupling`, the coupling.
    """
    chosen = PASSES[_fastest(inputs) if passes == "auto" else passes]()
    capsules, query = _FusedRouting.apply(inputs, weight, bias, iterations, leaky, chosen)
    coupling = tiles.coupling(inputs.detach(), weight.detach(), query, leaky) if with_coupling else None
    return capsules, coupling


class _FusedRouting(torch.autograd.Function):
    """Compute the capsules, and V of the last iteration without a gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Float[Tensor, "B I K"],
        weight: Float[Tensor, "I J K D"],
        bias: Float[Tensor, "J D"] | None,
        iterations: int,
        leaky: bool,
        passes: Passes,
    ) -> tuple[Float[Tensor, "B J D"], Float[Tensor, "B J D"]]:
        wide = _wide(inputs)
        total = torch.einsum("bik,ijkd->bjd", wide, weight.to(wide.dtype)) * _uniform(weight, leaky)
        query = torch.zeros_like(total)
        totals, queries = [total if bias is None else total + bias], [query]
        for _ in range(iterations - 1):
            query = query + squash(totals[-1])
            total = passes.forward(inputs, weight, query, leaky)
            totals.append(total if bias is None else total + bias)
            queries.append(query)
        ctx.save_for_backward(inputs, weight, bias, *totals, *queries)
        ctx.leaky, ctx.passes = leaky, passes
        ctx.mark_non_differentiable(query)
        return squash(totals[-1]), query

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_capsules: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, bias, *saved = ctx.saved_tensors
        totals, queries = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        wide = _wide(inputs)
        grad_inputs, grad_weight = torch.zeros_like(wide), torch.zeros_like(weight, dtype=wide.dtype)
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=wide.dtype)
        # v(r) is part of V(r + 1), V(r + 2), ...: its gradient is the sum of theirs.
        grad_query = torch.zeros_like(grad_capsules)
        for iteration in reversed(range(len(totals))):
            grad_total = torch.func.vjp(squash, totals[iteration])[1](grad_capsules)[0]
            if grad_bias is not None:
                grad_bias += grad_total.sum(0)
            if iteration > 0:
                grad_query = grad_query + ctx.passes.backward(
                    inputs, weight, queries[iteration], grad_total, ctx.leaky, grad_inputs, grad_weight
                )
                grad_capsules = grad_query
            else:
                grad_total = grad_total * _uniform(weight, ctx.leaky)
                grad_inputs += torch.einsum("bjd,ijkd->bik", grad_total, weight.to(wide.dtype))
                grad_weight += torch.einsum("bik,bjd->ijkd", wide, grad_total)
        if bias is not None and grad_bias is not None:
            grad_bias = grad_bias.to(bias.dtype)
        return grad_inputs.to(inputs.dtype), grad_weight.to(weight.dtype), grad_bias, None, None, None


def _wide(inputs: Tensor) -> Tensor:
    return inputs.to(torch.promote_types(inputs.dtype, torch.float32))


def _uniform(weight: Float[Tensor, "I J K D"], leaky: bool) -> float:
    """Return the coupling in the first iteration."""
    return 1 / (weight.shape[1] + leaky)


def _fastest(inputs: Float[Tensor, "B I K"]) -> str:
    """Return the key of the fastest passes for a device."""
    return "triton" if inputs.is_cuda and _kernels_accept(inputs) else "tiled"


def _kernels_accept(inputs: Float[Tensor, "B I K"]) -> bool:
    """Return whether the Triton kernels support these capsules and can be launched."""
    kernels = _kernels()
    if kernels is None or inputs.dtype == torch.float64 or inputs.shape[2] > kernels.MOST_DIMS:
        return False
    return bool(kernels.can_launch(inputs.device))


@functools.cache
def _kernels() -> ModuleType | None:
    """Return the module of the Triton kernels; without Triton, warn once and return None."""
    try:
        from capsnet.kernels import triton_routing
    except ImportError:
        warnings.warn("Triton is not installed: routing on the GPU uses slower kernels", stacklevel=2)
        return None
    return triton_routing


def _triton() -> Passes:
    try:
        from capsnet.kernels import triton_routing
    except ImportError as error:
        raise ValueError("implementation: got 'triton', expected 'auto' or another one without Triton") from error
    return Passes(triton_routing.forward_pass, triton_routing.backward_pass)


PASSES: dict[str, Callable[[], Passes]] = {
    "tiled": lambda: Passes(tiles.forward_pass, tiles.backward_pass),
    "triton": _triton,
}
