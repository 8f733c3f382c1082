"""The passes of fused routing on a GPU: matrix products, and Triton kernels between them.

Axes: B batch, I lower capsules, T lower capsules of a part, J upper capsules, K and D pose sizes of lower and upper.

As in `capsnet.kernels.tiles`, no vote is computed: u_hat . V = u . (W V) and sum_i c u_hat = sum_ik (c u) W. One
kernel reads W V, computes the coupling and overwrites W V with c u; the products before and after it are torch's.
Everything is float32, no addition is atomic, and numbers are added in the same order on every run. Importing this
module raises ImportError if Triton is not installed.
"""

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import triton
from jaxtyping import Float
from torch import Tensor

from capsnet.kernels.triton_kernels import grad_share_kernel, grad_weight_kernel, probe_kernel, share_kernel

NO_DEVICE = "implementation: got 'triton', expected 'auto' or another one without a CUDA device"

MOST_DIMS = 32  # largest K: the kernels are unrolled over it
SCRATCH = 2**24  # numbers of W V (one for each pair of capsules and axis K) computed at a time: 64 MB


@functools.cache
def can_launch(device: torch.device) -> bool:
    """Return whether kernels can be launched on this device; if not, warn once with the reason.

    Triton compiles a small C program at its first launch: it needs a C compiler and the header files of Python.
    """
    try:
        answer = torch.zeros(1, device=device)
        with torch.cuda.device_of(answer):
            probe_kernel[(1,)](answer)
        return answer.item() == 1
    except Exception as error:  # a compiler or a driver may raise anything
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        warnings.warn(f"Triton cannot launch kernels here, so routing does not use it: {reason}", stacklevel=2)
        return False


def forward_pass(
    inputs: Float[Tensor, "B I K"], weight: Float[Tensor, "I J K D"], query: Float[Tensor, "B J D"], leaky: bool
) -> Float[Tensor, "B J D"]:
    """Return the totals: the sums of the votes, each weighted by how well it agrees with its upper capsule's query.

        totals[b, j] = sum_i softmax_j(u_hat[b, i, j] . query[b, j]) u_hat[b, i, j],   u_hat[b, i, j] = u[b, i] W[i, j]

    `leaky` adds a zero logit to the softmax and drops its share afterwards. Inputs and weight are float32 or bfloat16,
    the rest is float32. Extra memory: J x B x K floats for as many lower capsules at a time as SCRATCH allows.

    Raises ValueError if the tensors are not on a CUDA device, are float64, or have K > MOST_DIMS = 32.
    """
    _check(inputs)
    if not len(inputs):
        return torch.zeros_like(query)  # a kernel cannot be launched for an empty batch
    num_images, uppers = len(inputs), weight.shape[1]
    upper = _for_each_dim(query, weight.shape[2])
    totals = torch.zeros_like(query)
    with torch.cuda.device_of(inputs):
        for part in _parts(inputs, weight):
            poses, matrices = _tile(inputs[:, part], weight[part])
            back = torch.bmm(upper, matrices.transpose(1, 2))
            sizes = _sizes(uppers, poses, leaky)
            share_kernel[_grid(poses, sizes)](back, poses, num_images, poses.shape[2], **sizes)
            totals += _over_dims(torch.bmm(back, matrices), uppers)
    return totals


def backward_pass(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    query: Float[Tensor, "B J D"],
    grad_totals: Float[Tensor, "B J D"],
    leaky: bool,
    grad_inputs: Float[Tensor, "B I K"],
    grad_weight: Float[Tensor, "I J K D"],
) -> Float[Tensor, "B J D"]:
    """Return the gradient of the query, and add those of inputs and weight in place.

        dc = u_hat . grad_totals,   db = c (dc - sum_j c dc),   grad_query = sum_i db u_hat
        d_u_hat = c grad_totals + db query,   grad_inputs += d_u_hat W^T,   grad_weight += u^T d_u_hat

    Extra memory: twice that of the forward pass, and c and db for as many lower capsules.

    Raises ValueError like the forward pass.
    """
    _check(inputs)
    if not len(inputs):
        return torch.zeros_like(query)
    query, grad_totals, whole = query.contiguous(), grad_totals.contiguous(), inputs.contiguous()
    to_weight = grad_weight.contiguous()
    num_images, num_lower, _ = inputs.shape
    uppers = weight.shape[1]
    both = _for_each_dim(torch.cat([query, grad_totals]), weight.shape[2])
    grad_query = torch.zeros_like(query)
    of_weight = _weight_sizes(weight)
    tiles = triton.cdiv(uppers, of_weight["uppers_tile"])
    with torch.cuda.device_of(inputs):
        for part in _parts(inputs, weight):
            poses, matrices = _tile(inputs[:, part], weight[part])
            number = poses.shape[2]
            back = torch.bmm(both, matrices.transpose(1, 2))
            grad_poses = torch.empty_like(poses)
            coupling, grad_logits = poses.new_empty((2, number, num_images, uppers)).unbind()
            sizes = _sizes(uppers, poses, leaky)
            grad_share_kernel[_grid(poses, sizes)](
                back, poses, grad_poses, coupling, grad_logits, num_images, number, **sizes
            )
            grad_inputs[:, part] += grad_poses.transpose(1, 2)
            grad_query += _over_dims(torch.bmm(back[:, :num_images], matrices), uppers)
            grad_weight_kernel[(number * tiles,)](
                *(whole, query, grad_totals, coupling, grad_logits, to_weight),
                *(num_images, num_lower, part.start),
                **of_weight,
            )
    if to_weight is not grad_weight:
        grad_weight.copy_(to_weight)
    return grad_query


def _check(inputs: Tensor) -> None:
    if inputs.dtype == torch.float64:
        raise ValueError("implementation: got 'triton', expected 'auto' or another one for float64")
    if inputs.shape[2] > MOST_DIMS:
        raise ValueError(
            f"implementation: got 'triton' for lower capsules of {inputs.shape[2]} dimensions, expected at most "
            f"{MOST_DIMS}, or 'auto'"
        )
    interpreted = not isinstance(share_kernel, triton.JITFunction)
    if inputs.device.type != "cuda" and not interpreted:
        raise ValueError(NO_DEVICE)


def _parts(inputs: Float[Tensor, "B I K"], weight: Float[Tensor, "I J K D"]) -> Iterator[slice]:
    """Cut the lower capsules into parts whose W V has about SCRATCH numbers."""
    num_images, num_lower, dims = inputs.shape
    step = max(1, SCRATCH // (num_images * weight.shape[1] * dims))
    for start in range(0, num_lower, step):
        yield slice(start, min(start + step, num_lower))


def _tile(
    inputs: Float[Tensor, "B T K"], weight: Float[Tensor, "T J K D"]
) -> tuple[Float[Tensor, "B K T"], Float[Tensor, "JK T D"]]:
    """Return poses and matrices: one matrix for each axis K, because a single product over K and T is slow."""
    matrices = weight.float().permute(1, 2, 0, 3).contiguous()
    return inputs.float().transpose(1, 2).contiguous(), matrices.flatten(0, 1)


def _for_each_dim(vectors: Float[Tensor, "B J D"], dims: int) -> Float[Tensor, "JK B D"]:
    return vectors.transpose(0, 1).unsqueeze(1).expand(-1, dims, -1, -1).flatten(0, 1)


def _over_dims(products: Float[Tensor, "JK B D"], uppers: int) -> Float[Tensor, "B J D"]:
    sums: Tensor = products.unflatten(0, (uppers, -1)).sum(1)
    return sums.transpose(0, 1)


def _sizes(uppers: int, poses: Float[Tensor, "B K T"], leaky: bool) -> dict[str, Any]:
    """Choose how many lower capsules a program works on: so few that its numbers stay in registers."""
    uppers_pad = triton.next_power_of_2(uppers)
    tile = 32 if uppers_pad <= 128 else 16
    return {
        "uppers": uppers,
        "dims": poses.shape[1],
        "uppers_pad": uppers_pad,
        "tile": tile,
        "leaky": leaky,
        "num_warps": min(8, max(1, uppers_pad * tile // 1024)),
    }


def _grid(poses: Float[Tensor, "B K T"], sizes: dict[str, Any]) -> tuple[int]:
    return (len(poses) * triton.cdiv(poses.shape[2], sizes["tile"]),)


def _weight_sizes(weight: Tensor) -> dict[str, int]:
    """Choose tiles (K, J, D) of the weights' gradient with 64 floats for each thread, in at most 4 warps."""
    _, uppers, dims, upper_dims = weight.shape
    dims_pad, upper_dims_pad = triton.next_power_of_2(dims), triton.next_power_of_2(upper_dims)
    uppers_tile = min(triton.next_power_of_2(uppers), max(1, 8192 // (dims_pad * upper_dims_pad)))
    return {
        "uppers": uppers,
        "dims": dims,
        "upper_dims": upper_dims,
        "uppers_tile": uppers_tile,
        "dims_pad": dims_pad,
        "upper_dims_pad": upper_dims_pad,
        "num_warps": max(1, uppers_tile * dims_pad * upper_dims_pad // 2048),
        "enable_fp_fusion": True,
    }
