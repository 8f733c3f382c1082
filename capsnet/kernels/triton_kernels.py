"""The Triton kernels of fused routing.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule; `b`,
`i`, `j`, `k`, `d` are indices along them. Tensors of pairs are laid out as (J, K, B, I), so that neighbouring threads
read neighbouring lower capsules. A thread holds all upper capsules of a lower one, so that the softmax needs no other
thread.

Offsets that depend on B or I are 64-bit. J x K x D alone is far below 2^31: 51,200 in the largest test.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def probe_kernel(answer):
    """Write a one: the smallest kernel that shows whether kernels can be launched."""
    tl.store(answer, 1.0)


@triton.jit
@no_type_check
def _softmax(logits, here, leaky: tl.constexpr):
    logits = tl.where(here, logits, float("-inf"))
    largest = tl.max(logits, axis=0, keep_dims=True)
    if leaky:
        largest = tl.maximum(largest, 0.0)
    exponentials = tl.exp(logits - largest)
    total = tl.sum(exponentials, axis=0, keep_dims=True)
    if leaky:
        total += tl.exp(-largest)
    return exponentials * (1.0 / total)


@triton.jit
@no_type_check
def share_kernel(
    back,
    poses,
    num_images,
    num_lower,
    uppers: tl.constexpr,
    dims: tl.constexpr,
    uppers_pad: tl.constexpr,
    tile: tl.constexpr,
    leaky: tl.constexpr,
):
    """Overwrite W V of each pair with the pair's share of the pose, c u."""
    blocks = tl.cdiv(num_lower, tile)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    i = tl.program_id(0) % blocks * tile + tl.arange(0, tile)[None, :]
    j = tl.arange(0, uppers_pad)[:, None]
    here = (j < uppers) & (i < num_lower)
    back_at = back + (j * dims * num_images + b) * num_lower + i
    along_k = tl.cast(num_images, tl.int64) * num_lower
    pose_at = poses + b * dims * num_lower + i

    logits = tl.zeros((uppers_pad, tile), dtype=tl.float32)
    for k in tl.static_range(dims):
        pose = tl.load(pose_at + k * num_lower, mask=i < num_lower, other=0.0)
        logits += tl.load(back_at + k * along_k, mask=here, other=0.0) * pose
    c = _softmax(logits, j < uppers, leaky)
    for k in tl.static_range(dims):
        pose = tl.load(pose_at + k * num_lower, mask=i < num_lower, other=0.0)
        tl.store(back_at + k * along_k, c * pose, mask=here)


@triton.jit
@no_type_check
def grad_share_kernel(
    back,
    poses,
    grad_poses,
    coupling,
    grad_logits,
    num_images,
    num_lower,
    uppers: tl.constexpr,
    dims: tl.constexpr,
    uppers_pad: tl.constexpr,
    tile: tl.constexpr,
    leaky: tl.constexpr,
):
    """Write c, db and the gradient of the poses; overwrite W V of each pair with db u.

    For each j and k, `back` holds W V of all images and then W g of all images, with g the gradient of the totals.
    """
    blocks = tl.cdiv(num_lower, tile)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    i = tl.program_id(0) % blocks * tile + tl.arange(0, tile)[None, :]
    j = tl.arange(0, uppers_pad)[:, None]
    here = (j < uppers) & (i < num_lower)
    value_at = back + (2 * j * dims * num_images + b) * num_lower + i
    grad_at = value_at + tl.cast(num_images, tl.int64) * num_lower
    along_k = 2 * tl.cast(num_images, tl.int64) * num_lower
    pose_at = b * dims * num_lower + i

    logits = tl.zeros((uppers_pad, tile), dtype=tl.float32)
    dc = tl.zeros((uppers_pad, tile), dtype=tl.float32)
    for k in tl.static_range(dims):
        pose = tl.load(poses + pose_at + k * num_lower, mask=i < num_lower, other=0.0)
        logits += tl.load(value_at + k * along_k, mask=here, other=0.0) * pose
        dc += tl.load(grad_at + k * along_k, mask=here, other=0.0) * pose
    c = _softmax(logits, j < uppers, leaky)
    db = c * (dc - tl.sum(c * dc, axis=0, keep_dims=True))
    pair_at = (i * num_images + b) * uppers + j
    tl.store(coupling + pair_at, c, mask=here)
    tl.store(grad_logits + pair_at, db, mask=here)
    for k in tl.static_range(dims):
        pose = tl.load(poses + pose_at + k * num_lower, mask=i < num_lower, other=0.0)
        value = tl.load(value_at + k * along_k, mask=here, other=0.0)
        grad = tl.load(grad_at + k * along_k, mask=here, other=0.0)
        grad_pose = tl.sum(c * grad + db * value, axis=0, keep_dims=True)
        tl.store(grad_poses + pose_at + k * num_lower, grad_pose, mask=i < num_lower)
        tl.store(value_at + k * along_k, db * pose, mask=here)


@triton.jit
@no_type_check
def grad_weight_kernel(
    inputs,
    query,
    grad_totals,
    coupling,
    grad_logits,
    grad_weight,
    num_images,
    num_lower,
    start,
    uppers: tl.constexpr,
    dims: tl.constexpr,
    upper_dims: tl.constexpr,
    uppers_tile: tl.constexpr,
    dims_pad: tl.constexpr,
    upper_dims_pad: tl.constexpr,
):
    """Add to the gradient of one lower capsule's weights; c and db are laid out as (I, B, J)."""
    tiles: tl.constexpr = (uppers + uppers_tile - 1) // uppers_tile
    i = (tl.program_id(0) // tiles).to(tl.int64)
    k = tl.arange(0, dims_pad)[:, None, None]
    j = (tl.program_id(0) % tiles * uppers_tile + tl.arange(0, uppers_tile))[None, :, None]
    d = tl.arange(0, upper_dims_pad)[None, None, :]
    upper_here = (j < uppers) & (d < upper_dims)
    coupling += i * num_images * uppers + j
    grad_logits += i * num_images * uppers + j
    grad_totals += j * upper_dims + d
    query += j * upper_dims + d
    inputs += (start + i) * dims + k

    total = tl.zeros((dims_pad, uppers_tile, upper_dims_pad), dtype=tl.float32)
    for b in tl.range(0, num_images, loop_unroll_factor=4):
        pose = tl.load(inputs + tl.cast(b, tl.int64) * num_lower * dims, mask=k < dims, other=0.0).to(tl.float32)
        c = tl.load(coupling, mask=j < uppers, other=0.0)
        db = tl.load(grad_logits, mask=j < uppers, other=0.0)
        grad = tl.load(grad_totals, mask=upper_here, other=0.0)
        asked = tl.load(query, mask=upper_here, other=0.0)
        total += pose * (c * grad + db * asked)
        coupling += uppers
        grad_logits += uppers
        grad_totals += uppers * upper_dims
        query += uppers * upper_dims
    at = grad_weight + ((start + i) * uppers * dims + j * dims + k) * upper_dims + d
    here = upper_here & (k < dims)
    tl.store(at, tl.load(at, mask=here, other=0.0) + total, mask=here)
