"""Routing by agreement without ever storing a vote: forward and backward as passes over the lower capsules.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.

With V(1) = 0 and V(r + 1) = V(r) + v(r), the logits of iteration r are u_hat[i, j] . V(r)[j]: nothing is accumulated
for a lower capsule, so an iteration is one pass that makes votes as it needs them and forgets them,

    s(r)[j] = sum_i softmax_j(u_hat[i, :] . V(r)) u_hat[i, j],        v(r) = squash(s(r) + bias),

like attention with the upper capsules as queries V and the votes as both keys and values. The gradient is such a pass
for each iteration too, from the last to the second (`Passes`); in the first the coupling is uniform. Kept between the
two are s and V of each iteration.
"""

import functools
import warnings
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from capsnet.kernels import tiles
from capsnet.networks.routing import Routing, squash


class Passes(NamedTuple):
    """The two passes over all lower capsules, for one kind of device.

    `forward(inputs, weight, query, leaky)` returns the totals s (B, J, D).
    `backward(inputs, weight, query, grad_totals, leaky, grad_inputs, grad_weight)` adds to the last two in place, and
    returns the gradient of the query: with c the coupling and g the gradient of s,

        dc[i, j] = u_hat[i, j] . g[j],   db = c (dc - sum_j c dc),   dV[j] = sum_i db[i, j] u_hat[i, j],
        du_hat = c g + db V,             du = du_hat W^T,            dW = u^T du_hat.

    Inputs and weight may be in half precision; everything else is at least float32, and so is every sum.
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
) -> Routing:
    """Route as `capsnet.dynamic_routing` does, with the passes of that name: a key of `PASSES`, or auto."""
    chosen = PASSES[_fastest(inputs) if passes == "auto" else passes]()
    capsules, query = _FusedRouting.apply(inputs, weight, bias, iterations, leaky, chosen)
    return Routing(capsules, tiles.coupling(inputs.detach(), weight.detach(), query, leaky) if with_coupling else None)


class _FusedRouting(torch.autograd.Function):
    """Returns the capsules, and V of the last iteration without a gradient."""

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
        # v(r) is in V(r + 1), V(r + 2), ...: it collects the gradients of all of them.
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
    """Coupling of the first iteration."""
    return 1 / (weight.shape[1] + leaky)


def _fastest(inputs: Float[Tensor, "B I K"]) -> str:
    """Name the passes for a device; compiled ones save a fiftieth of a training step on a CPU, and cost seconds."""
    return "triton" if inputs.is_cuda and _kernels_take(inputs) else "tiled"


def _kernels_take(inputs: Float[Tensor, "B I K"]) -> bool:
    """Tell whether Triton's kernels are there for these capsules and can be launched."""
    kernels = _kernels()
    if kernels is None or inputs.dtype == torch.float64 or inputs.shape[2] > kernels.MOST_DIMS:
        return False
    return bool(kernels.can_launch(inputs.device))


@functools.cache
def _kernels() -> ModuleType | None:
    """Return the module of Triton's kernels; without Triton there is none, and a warning says so once."""
    try:
        from capsnet.kernels import triton_routing
    except ValueError:
        warnings.warn("Triton is not installed: routing on the GPU does without it, and takes longer", stacklevel=2)
        return None
    return triton_routing


def _compiled() -> Passes:
    if not tiles.can_compile():
        return PASSES["tiled"]()
    return Passes(partial(tiles.forward_pass, compiled=True), partial(tiles.backward_pass, compiled=True))


def _triton() -> Passes:
    from capsnet.kernels import triton_routing

    return Passes(triton_routing.forward_pass, triton_routing.backward_pass)


PASSES: dict[str, Callable[[], Passes]] = {
    "tiled": lambda: Passes(tiles.forward_pass, tiles.backward_pass),
    "compiled": _compiled,
    "triton": _triton,
}
