"""Passes of routing without the vote tensor on a GPU, as Triton kernels.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.

Everything is float32 without TF32, and nothing is atomic: a program owns what it writes, sums over programs are
torch's, and how the work is cut depends on shapes alone, so that numbers are added in the same order on every run.
Importing this module raises ValueError where there is no Triton.
"""

import functools
import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

NO_DEVICE = "implementation: got 'triton', expected 'auto' or another one without a CUDA device"

try:
    import triton

    from capsnet.kernels.triton_kernels import grad_query_kernel, grad_weight_kernel, probe_kernel, totals_kernel
except ImportError as error:
    raise ValueError(NO_DEVICE) from error

MOST_DIMS = 16  # of a lower capsule: kernels are unrolled over K, and with 32 take a minute to compile
MULTIPROCESSORS = 132  # of an H100; fixed, for the order of sums not to depend on the device
SCRATCH = 2**22  # pairs (image, upper capsule) x lower capsules whose coupling is kept at a time: 2 x 16 MB of float32
SHARED = 2**16  # bytes of shared memory that one lower capsule's weights and poses may take to be fetched a step ahead


class Tile(NamedTuple):
    """How many images a program takes, and how it is to be compiled and launched."""

    images: int
    warps: int
    stages: int  # depth of the pipeline of loads; 1: none
    registers: int | None  # a thread's limit; None: the device's, 255
    programs: int  # as many as run at once


@functools.cache
def can_launch(device: torch.device) -> bool:
    """Tell whether kernels can be launched on this device; where they cannot, warn once and say why.

    Triton compiles a small C program at its first launch: it needs a C compiler and the header files of Python.
    """
    try:
        answer = torch.zeros(1, device=device)
        with torch.cuda.device_of(answer):
            probe_kernel[(1,)](answer)
        return answer.item() == 1
    except Exception as error:  # whatever a compiler or a driver may raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        warnings.warn(f"Triton cannot launch kernels here, routing does without it: {reason}", stacklevel=2)
        return False


def forward_pass(
    inputs: Float[Tensor, "B I K"], weight: Float[Tensor, "I J K D"], query: Float[Tensor, "B J D"], leaky: bool
) -> Float[Tensor, "B J D"]:
    """Sum the votes, each weighted by how well it agrees with the query of its upper capsule.

        totals[b, j] = sum_i softmax_j(u_hat[b, i, j] . query[b, j]) u_hat[b, i, j],   u_hat[b, i, j] = u[b, i] W[i, j]

    `leaky` adds a zero logit to the softmax and drops it afterwards. Inputs and weight are float32 or bfloat16, the
    rest is float32. Scratch: one B x J x D per chunk of lower capsules, at most 13 MB unless one alone is more; and a
    bfloat16 weight as float32, to be widened once and not by each thread.

    Raises ValueError if the tensors are not on a CUDA device, are float64, or have more than MOST_DIMS = 16 axes K.
    """
    _check(inputs)
    if not len(inputs):
        return torch.zeros_like(query)  # no kernel can be launched for nothing
    inputs, weight, query = inputs.contiguous(), weight.float().contiguous(), query.contiguous()
    num_images, num_lower, _ = inputs.shape
    tile = _tile(num_images, weight, arrays=3)
    chunk, chunks, grid = _chunks(num_images, num_lower, tile)
    partial = query.new_empty((chunks, *query.shape))
    with torch.cuda.device_of(inputs):
        totals_kernel[grid](
            inputs, weight, query, partial, num_images, num_lower, chunk, chunks, **_sizes(weight, leaky, tile)
        )
    return partial.sum(0)


def backward_pass(
    inputs: Float[Tensor, "B I K"],
    weight: Float[Tensor, "I J K D"],
    query: Float[Tensor, "B J D"],
    grad_totals: Float[Tensor, "B J D"],
    leaky: bool,
    grad_inputs: Float[Tensor, "B I K"],
    grad_weight: Float[Tensor, "I J K D"],
) -> Float[Tensor, "B J D"]:
    """Return the gradient of the query; add those of inputs and weight to `grad_inputs` and `grad_weight` in place.

        dc = u_hat . grad_totals,   db = c (dc - sum_j c dc),   grad_query = sum_i db u_hat
        d_u_hat = c grad_totals + db query,   grad_inputs += d_u_hat W^T,   grad_weight += u^T d_u_hat

    The first kernel owns images and leaves c and db, B x J floats a lower capsule; the second owns lower capsules and
    needs no votes. Scratch: c and db of as many lower capsules at a time as 34 MB hold (one at least), their weights as
    float32 if they are bfloat16, and sums as in the forward pass.

    Raises ValueError like the forward pass.
    """
    _check(inputs)
    if not len(inputs):
        return torch.zeros_like(query)
    inputs, weight, query, grad_totals = (each.contiguous() for each in (inputs, weight, query, grad_totals))
    to_inputs, to_weight = grad_inputs.contiguous(), grad_weight.contiguous()
    num_images, num_lower, _ = inputs.shape
    num_upper = weight.shape[1]
    slabs = triton.cdiv(num_lower, max(1, SCRATCH // (num_images * num_upper)))
    slab = triton.cdiv(num_lower, slabs)
    tile = _tile(num_images, weight, arrays=4)
    chunk, chunks, grid = _chunks(num_images, slab, tile)
    partial = query.new_empty((chunks, *query.shape))
    coupling, grad_logits = query.new_empty((2, slab, num_images, num_upper)).unbind()
    grad_query = torch.zeros_like(query)
    with torch.cuda.device_of(inputs):
        for start in range(0, num_lower, slab):
            stop = min(start + slab, num_lower)
            grad_query_kernel[grid](
                *(inputs, weight[start:stop].float(), query, grad_totals, partial, coupling, grad_logits, to_inputs),
                *(num_images, num_lower, start, stop, chunk, chunks),
                **_sizes(weight, leaky, tile),
            )
            grad_query += partial.sum(0)
            sizes = _weight_sizes(weight)
            grad_weight_kernel[((stop - start) * triton.cdiv(num_upper, sizes["uppers_tile"]),)](
                *(inputs, query, grad_totals, coupling, grad_logits, to_weight, num_images, num_lower, start), **sizes
            )
    for given, written in ((grad_inputs, to_inputs), (grad_weight, to_weight)):
        if written is not given:
            given.copy_(written)
    return grad_query


def _check(inputs: Tensor) -> None:
    if inputs.dtype == torch.float64:
        raise ValueError("implementation: got 'triton', expected 'auto' or another one for float64")
    if inputs.shape[2] > MOST_DIMS:
        raise ValueError(
            f"implementation: got 'triton' for lower capsules of {inputs.shape[2]} dimensions, expected at most "
            f"{MOST_DIMS}, or 'auto'"
        )
    interpreted = not isinstance(totals_kernel, triton.JITFunction)
    if inputs.device.type != "cuda" and not interpreted:
        raise ValueError(NO_DEVICE)


def _tile(num_images: int, weight: Tensor, arrays: int) -> Tile:
    """Choose the tile so that `arrays` tiles of floats (three forward, four backward) stay in registers.

    A thread holds 64 floats of each, or 32 where that is too many. Up to J = 16 a thread has all of J, and what pads J
    takes no register: 40 floats of 64, as for J = 10, leave room for 12 warps on a multiprocessor in the forward pass,
    and for four arrays in the backward pass.
    """
    _, uppers, dims, upper_dims = weight.shape
    uppers_pad, upper_dims_pad = triton.next_power_of_2(uppers), triton.next_power_of_2(upper_dims)
    sparse = uppers_pad <= 16 and 8 * uppers <= 5 * uppers_pad
    floats = 64 if arrays == 3 or sparse else 32
    row = uppers_pad * upper_dims_pad
    most = (8 if uppers_pad > 32 else 4) * 32 * floats
    images = min(max(1, most // row), triton.next_power_of_2(num_images))
    warps = min(8, max(1, images * row // (32 * floats)))
    fetched = (row + images) * dims * 4 * (arrays - 2)  # weights and poses; in the backward pass their gradients too
    light = sparse and arrays == 3
    # 65536 registers hold 12 warps of 168 a thread, or 8 of 255.
    programs = MULTIPROCESSORS * (12 if light else 8) // warps
    return Tile(images, warps, 2 if fetched <= SHARED else 1, 168 if light else None, programs)


def _chunks(num_images: int, num_lower: int, tile: Tile) -> tuple[int, int, tuple[int]]:
    """Cut the lower capsules into chunks such that tiles x chunks is about the number of programs asked for."""
    tiles = triton.cdiv(num_images, tile.images)
    chunk = triton.cdiv(num_lower, max(1, tile.programs // tiles))
    chunks = triton.cdiv(num_lower, chunk)
    return chunk, chunks, (tiles * chunks,)


def _sizes(weight: Tensor, leaky: bool, tile: Tile) -> dict[str, object]:
    _, uppers, dims, upper_dims = weight.shape
    return {
        "uppers": uppers,
        "dims": dims,
        "upper_dims": upper_dims,
        "uppers_pad": triton.next_power_of_2(uppers),
        "upper_dims_pad": triton.next_power_of_2(upper_dims),
        "images_tile": tile.images,
        "leaky": leaky,
        "stages": tile.stages,
        "num_warps": tile.warps,
        "maxnreg": tile.registers,
        "enable_fp_fusion": True,
    }


def _weight_sizes(weight: Tensor) -> dict[str, int]:
    """Choose tiles (K, J, D) of the weights' gradient of 64 floats a thread, of at most 4 warps."""
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
