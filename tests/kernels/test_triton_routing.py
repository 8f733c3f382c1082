"""The Triton kernels against float64 votes and autograd, on a GPU where there is one, else in Triton's interpreter.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from capsnet.kernels import triton_routing
from capsnet.kernels.triton_routing import backward_pass, forward_pass
from capsnet.networks.routing import dynamic_routing

pytestmark = pytest.mark.usefixtures("one_thread")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LEAKY = pytest.mark.parametrize("leaky", [False, True], ids=["all", "leaky"])
NEEDS_GPU = pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
PAPER = (128, 1152, 10, 8, 16)  # B, I, J, K, D of Sabour et al. 2017, section 4


class Case(NamedTuple):
    """The arguments of both passes, without `leaky` and the tensors that are added to."""

    inputs: Tensor
    weight: Tensor
    query: Tensor
    grad_totals: Tensor


class PassResults(NamedTuple):
    """What both passes return or add."""

    totals: Tensor
    grad_query: Tensor
    grad_inputs: Tensor
    grad_weight: Tensor


def case(
    batch: int, lower: int, upper: int, dim: int, upper_dim: int, dtype: torch.dtype = torch.float32, seed: int = 7
) -> Case:
    """Make tensors large enough for couplings far from uniform."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    inputs, weight = normal(batch, lower, dim), normal(lower, upper, dim, upper_dim) / dim**0.5
    query, grad_totals = 1.5 * normal(batch, upper, upper_dim) / upper_dim**0.5, normal(batch, upper, upper_dim)
    return Case(inputs.to(DEVICE, dtype), weight.to(DEVICE, dtype), query.to(DEVICE), grad_totals.to(DEVICE))


def by_kernels(case: Case, leaky: bool) -> PassResults:
    grad_inputs, grad_weight = (torch.zeros_like(each, dtype=torch.float32) for each in case[:2])
    totals = forward_pass(*case[:3], leaky)
    return PassResults(totals, backward_pass(*case, leaky, grad_inputs, grad_weight), grad_inputs, grad_weight)


def by_autograd(case: Case, leaky: bool) -> PassResults:
    """The same in float64 with all votes stored, differentiated by PyTorch."""
    inputs, weight, query = (each.double().requires_grad_() for each in case[:3])
    votes = torch.einsum("bik,ijkd->bijd", inputs, weight)
    logits = torch.einsum("bijd,bjd->bij", votes, query)
    if leaky:
        logits = torch.cat([logits, torch.zeros_like(logits[:, :, :1])], 2)
    coupling = logits.softmax(2)[:, :, : query.shape[1]]
    totals = torch.einsum("bij,bijd->bjd", coupling, votes)
    gradients = torch.autograd.grad(totals, (query, inputs, weight), case.grad_totals.double())
    return PassResults(totals.detach(), *gradients)


def assert_close(got: PassResults, expected: PassResults) -> None:
    for name, one, other in zip(PassResults._fields, got, expected, strict=True):
        assert one.dtype == torch.float32, name
        assert one.shape == other.shape, name
        assert (one - other).abs().max() <= 1e-5 * other.abs().max(), name


@given(
    batch=st.integers(1, 5),
    lower=st.integers(1, 5),
    upper=st.integers(2, 100),
    dim=st.integers(4, 16),
    upper_dim=st.integers(4, 32),
    leaky=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
# In the interpreter it would take minutes to shrink an example.
@settings(derandomize=True, deadline=None, database=None, max_examples=12, phases=[Phase.generate])
def test_both_passes_agree_with_stored_votes_and_autograd(
    batch: int, lower: int, upper: int, dim: int, upper_dim: int, leaky: bool, dtype: torch.dtype
) -> None:
    arguments = case(batch, lower, upper, dim, upper_dim, dtype)
    assert_close(by_kernels(arguments, leaky), by_autograd(arguments, leaky))


@LEAKY
@pytest.mark.parametrize("sizes", [(33, 2, 10, 4, 16), (5, 2, 100, 5, 32), (1, 3, 2, 16, 4), (3, 2, 17, 8, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_corners_of_the_sizes_agree_with_stored_votes_and_autograd(
    sizes: tuple[int, int, int, int, int], leaky: bool, dtype: torch.dtype
) -> None:
    arguments = case(*sizes, dtype)
    assert_close(by_kernels(arguments, leaky), by_autograd(arguments, leaky))


@pytest.mark.parametrize("scratch", [2**24, 10 * 3 * 5 * 4 + 1, 1])
def test_the_way_the_work_is_cut_changes_rounding_only(scratch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_routing, "SCRATCH", scratch)
    arguments = case(3, 29, 5, 4, 6)
    assert_close(by_kernels(arguments, True), by_autograd(arguments, True))


def test_gradients_are_added_to_what_is_there_in_any_memory_layout() -> None:
    arguments = case(3, 4, 3, 4, 8)
    expected = by_kernels(arguments, False)
    inputs = torch.ones(4, 4, 3, device=DEVICE).permute(2, 0, 1)
    weight = torch.full((4, 3, 8, 4), 2.0, device=DEVICE).mT
    backward_pass(*arguments, False, inputs, weight)
    torch.testing.assert_close(inputs, 1 + expected.grad_inputs)
    torch.testing.assert_close(weight, 2 + expected.grad_weight)


def test_the_memory_layout_of_the_arguments_does_not_matter() -> None:
    arguments = case(3, 4, 3, 5, 8)
    scattered = Case(*(each.transpose(0, -1).contiguous().transpose(0, -1) for each in arguments))
    assert not any(each.is_contiguous() for each in scattered)
    for one, other in zip(by_kernels(arguments, True), by_kernels(scattered, True), strict=True):
        assert torch.equal(one, other)


@LEAKY
@pytest.mark.parametrize("zero", Case._fields)
def test_zero_vectors_give_finite_values_and_gradients(zero: str, leaky: bool) -> None:
    arguments = case(2, 3, 3, 4, 4)
    arguments = arguments._replace(**{zero: torch.zeros_like(getattr(arguments, zero))})
    got, expected = by_kernels(arguments, leaky), by_autograd(arguments, leaky)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-6)


@LEAKY
def test_queries_of_any_length_give_finite_values(leaky: bool) -> None:
    arguments = case(2, 3, 3, 4, 4)
    for scale in (1e4, -1e4):
        assert all(
            each.isfinite().all() for each in by_kernels(arguments._replace(query=scale * arguments.query), leaky)
        )


def test_an_image_is_routed_alike_whatever_its_batch_mates() -> None:
    arguments = case(5, 6, 3, 4, 8)
    alone = Case(arguments.inputs[4:], arguments.weight, arguments.query[4:], arguments.grad_totals[4:])
    for one, other in zip(by_kernels(arguments, False)[:3], by_kernels(alone, False)[:3], strict=True):
        torch.testing.assert_close(one[4:], other)


def test_both_passes_give_equal_bytes_twice() -> None:
    arguments = case(5, 6, 10, 4, 16)
    for one, other in zip(by_kernels(arguments, True), by_kernels(arguments, True), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("lower", [1152, 9216])
def test_no_part_has_more_numbers_than_scratch_allows(lower: int) -> None:
    inputs, weight = torch.empty(128, lower, 8, device="meta"), torch.empty(lower, 10, 8, 16, device="meta")
    parts = [*triton_routing._parts(inputs, weight)]
    assert max(part.stop - part.start for part in parts) * 128 * 10 * 8 <= triton_routing.SCRATCH
    assert [place for part in parts for place in range(part.start, part.stop)] == [*range(lower)]


REFUSAL = """
import torch
from capsnet.networks.fused_routing import PASSES
try:
    PASSES["triton"]().forward(torch.ones(1, 2, 4), torch.ones(2, 3, 4, 4), torch.ones(1, 3, 4), False)
except ValueError as error:
    print(error)
"""


def output_of(program: str, **environment: str) -> str:
    """Run a program without Triton's interpreter."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_tensors_on_the_cpu_and_a_python_without_triton_are_refused_by_name() -> None:
    expected = "implementation: got 'triton', expected 'auto' or another one without"
    assert output_of(REFUSAL) == f"{expected} a CUDA device\n"
    assert output_of("import sys\nsys.modules['triton'] = None\n" + REFUSAL) == f"{expected} Triton\n"


def test_float64_is_refused_by_name_for_the_kernels_sum_in_float32() -> None:
    inputs, weight = torch.ones(1, 2, 4, dtype=torch.float64), torch.ones(2, 2, 4, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="got 'triton', expected 'auto' or another one for float64"):
        dynamic_routing(inputs.to(DEVICE), weight.to(DEVICE), implementation="triton")


COMPILATION = """
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from capsnet.kernels import triton_kernels, triton_routing

INTEGERS = {"num_images", "num_lower", "start"}


def compiled(kernel, sizes, poses, ones):
    options = {name: sizes.pop(name) for name in ("num_warps", "maxnreg", "enable_fp_fusion") if name in sizes}
    fixed = sizes | {name: 1 for name in ones}
    kinds = {name: "i32" if name in INTEGERS else "*fp32" for name in kernel.arg_names} | {"inputs": poses}
    signature = {name: "constexpr" if name in fixed else kinds[name] for name in kernel.arg_names}
    fixed = {name: fixed[name] for name in kernel.arg_names if name in fixed}
    aligned = {(n,): [["tt.divisibility", 16]] for n, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(kernel, signature, fixed, aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


for (batch, *shape), poses, ones in (
    ((128, 10, 8, 16), "*fp32", ()),
    ((128, 100, 5, 32), "*fp32", ()),
    ((33, 3, 32, 6), "*bf16", ()),
    ((1, 10, 8, 16), "*bf16", ("num_images", "num_lower", "start")),
):
    weight = torch.empty(1, *shape)
    for kernel in (triton_kernels.share_kernel, triton_kernels.grad_share_kernel):
        sizes = triton_routing._sizes(shape[0], torch.empty(batch, shape[1], 7), batch % 2 == 1)
        some = [name for name in ones if name in kernel.arg_names]
        print(shape, kernel.__name__, compiled(kernel, sizes, poses, some).metadata.shared)
    kernel = triton_kernels.grad_weight_kernel
    print(shape, kernel.__name__, compiled(kernel, triton_routing._weight_sizes(weight), poses, ones).metadata.shared)
"""


@pytest.mark.slow
def test_all_kernels_compile_for_compute_capability_9_and_leave_shared_memory(tmp_path: Path) -> None:
    lines = output_of(COMPILATION, TRITON_CACHE_DIR=str(tmp_path)).splitlines()
    assert len(lines) == 4 * 3
    # Two programs at a time on a multiprocessor of 227 KB.
    assert max(int(line.split()[-1]) for line in lines) < 110_000


@pytest.mark.gpu
@NEEDS_GPU
@LEAKY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_paper_s_sizes_agree_with_stored_votes_and_autograd(leaky: bool, dtype: torch.dtype) -> None:
    arguments = case(*PAPER, dtype)
    got = by_kernels(arguments, leaky)
    assert_close(got, by_autograd(arguments, leaky))
    for one, other in zip(got, by_kernels(arguments, leaky), strict=True):
        assert torch.equal(one, other)


@pytest.mark.gpu
@NEEDS_GPU
def test_both_passes_can_be_captured_in_a_graph_and_replayed() -> None:
    arguments, others = case(*PAPER), case(*PAPER, seed=8)
    expected = [by_kernels(each, False) for each in (arguments, others)]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        by_kernels(arguments, False)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = by_kernels(arguments, False)
    for replayed, wanted in ((arguments, expected[0]), (others, expected[1])):
        for static, new in zip(arguments, replayed, strict=True):
            static.copy_(new)
        graph.replay()
        for one, other in zip(got, wanted, strict=True):
            assert torch.equal(one, other)
