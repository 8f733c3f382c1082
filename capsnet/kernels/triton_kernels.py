"""The Triton kernels of routing without the vote tensor.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule; `b`,
`i`, `j`, `k`, `d` count along them. Tiles are (J, images, D), in this order: the compiler then gives a thread all of J
(up to 16) and 4 neighbours of D, and spreads images over threads and warps, so that the softmax stays in a thread.

In loops over lower capsules, images and upper capsules beyond the last are the last again: their addresses are good,
their results are never written, and no load needs a mask unless D is no power of two. Offsets are 64-bit wherever B or
I enters; J x K x D alone, 51,200 for the largest of the tests, stays far below 2^31.
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
def _weight_row(weight_at, d, upper_dims: tl.constexpr, upper_dims_pad: tl.constexpr):
    return tl.load(weight_at, mask=d < upper_dims, other=0.0) if upper_dims < upper_dims_pad else tl.load(weight_at)


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
def totals_kernel(
    inputs,
    weight,
    query,
    partial,
    num_images,
    num_lower,
    chunk,
    chunks,
    uppers: tl.constexpr,
    dims: tl.constexpr,
    upper_dims: tl.constexpr,
    uppers_pad: tl.constexpr,
    upper_dims_pad: tl.constexpr,
    images_tile: tl.constexpr,
    leaky: tl.constexpr,
    stages: tl.constexpr,
):
    """Write the weighted sum of the votes of one chunk of lower capsules."""
    # Programs that start together on a multiprocessor tend to share a chunk, and its weights in the cache.
    chunk_of, tile_of = tl.program_id(0) % chunks, tl.program_id(0) // chunks
    first = chunk_of * chunk
    j = tl.arange(0, uppers_pad)[:, None, None]
    b = (tile_of * images_tile + tl.arange(0, images_tile))[None, :, None]
    d = tl.arange(0, upper_dims_pad)[None, None, :]
    here = (j < uppers) & (b < num_images) & (d < upper_dims)
    at = (b.to(tl.int64) * uppers + j) * upper_dims + d
    asked = tl.load(query + at, mask=here, other=0.0)
    inputs_at = inputs + tl.minimum(b, num_images - 1).to(tl.int64) * num_lower * dims
    weight_at = weight + tl.minimum(j, uppers - 1) * dims * upper_dims + d

    totals = tl.zeros((uppers_pad, images_tile, upper_dims_pad), dtype=tl.float32)
    for i in tl.range(first, tl.minimum(first + chunk, num_lower), num_stages=stages):
        lower = tl.cast(i, tl.int64)
        votes = tl.zeros((uppers_pad, images_tile, upper_dims_pad), dtype=tl.float32)
        for k in tl.static_range(dims):
            pose = tl.load(inputs_at + (lower * dims + k)).to(tl.float32)
            row_at = weight_at + (lower * uppers * dims + k) * upper_dims
            votes += pose * _weight_row(row_at, d, upper_dims, upper_dims_pad)
        agreement = tl.sum(votes * asked, axis=2, keep_dims=True)
        totals += _softmax(agreement, j < uppers, leaky) * votes
    tl.store(partial + chunk_of.to(tl.int64) * num_images * uppers * upper_dims + at, totals, mask=here)


@triton.jit
@no_type_check
def grad_query_kernel(
    inputs,
    weight,
    query,
    grad_totals,
    partial,
    coupling,
    grad_logits,
    grad_inputs,
    num_images,
    num_lower,
    start,
    stop,
    chunk,
    chunks,
    uppers: tl.constexpr,
    dims: tl.constexpr,
    upper_dims: tl.constexpr,
    uppers_pad: tl.constexpr,
    upper_dims_pad: tl.constexpr,
    images_tile: tl.constexpr,
    leaky: tl.constexpr,
    stages: tl.constexpr,
):
    """Write the query's gradient over one chunk, c and db of each pair; add to the gradient of the inputs."""
    chunk_of, tile_of = tl.program_id(0) % chunks, tl.program_id(0) // chunks
    first = start + chunk_of * chunk
    j = tl.arange(0, uppers_pad)[:, None, None]
    b = (tile_of * images_tile + tl.arange(0, images_tile))[None, :, None]
    d = tl.arange(0, upper_dims_pad)[None, None, :]
    here = (j < uppers) & (b < num_images) & (d < upper_dims)
    at = (b.to(tl.int64) * uppers + j) * upper_dims + d
    asked = tl.load(query + at, mask=here, other=0.0)
    grad = tl.load(grad_totals + at, mask=here, other=0.0)
    poses = tl.minimum(b, num_images - 1).to(tl.int64) * num_lower * dims
    weight_at = weight + tl.minimum(j, uppers - 1) * dims * upper_dims + d
    pair = b.to(tl.int64) * uppers + j
    pair_here = (j < uppers) & (b < num_images)

    grad_query = tl.zeros((uppers_pad, images_tile, upper_dims_pad), dtype=tl.float32)
    for i in tl.range(first, tl.minimum(first + chunk, stop), num_stages=stages):
        lower = tl.cast(i, tl.int64)
        votes = tl.zeros((uppers_pad, images_tile, upper_dims_pad), dtype=tl.float32)
        for k in tl.static_range(dims):
            pose = tl.load(inputs + poses + (lower * dims + k)).to(tl.float32)
            row_at = weight_at + ((lower - start) * uppers * dims + k) * upper_dims
            votes += pose * _weight_row(row_at, d, upper_dims, upper_dims_pad)
        c = _softmax(tl.sum(votes * asked, axis=2, keep_dims=True), j < uppers, leaky)
        dc = tl.sum(votes * grad, axis=2, keep_dims=True)
        db = c * (dc - tl.sum(c * dc, axis=0, keep_dims=True))
        grad_query += db * votes
        # These stores stand between the two reads of the weights: merged into one read, they would fill the registers.
        pair_at = (lower - start) * num_images * uppers + pair
        tl.store(coupling + pair_at, c, mask=pair_here)
        tl.store(grad_logits + pair_at, db, mask=pair_here)
        grad_votes = c * grad + db * asked
        for k in tl.static_range(dims):
            row_at = weight_at + ((lower - start) * uppers * dims + k) * upper_dims
            product = grad_votes * _weight_row(row_at, d, upper_dims, upper_dims_pad)
            # Last what crosses threads: D where a thread has all of J, J where the weights are not fetched ahead.
            if stages == 1:
                grad_pose = tl.sum(tl.sum(product, axis=2, keep_dims=True), axis=0, keep_dims=True)
            else:
                grad_pose = tl.sum(tl.sum(product, axis=0, keep_dims=True), axis=2, keep_dims=True)
            pose_at = grad_inputs + poses + (lower * dims + k)
            tl.store(pose_at, tl.load(pose_at) + grad_pose, mask=b < num_images)
    tl.store(partial + chunk_of.to(tl.int64) * num_images * uppers * upper_dims + at, grad_query, mask=here)


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
    """Add to the gradient of one lower capsule's weights."""
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
