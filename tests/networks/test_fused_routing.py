"""Routing without stored votes gives the same numbers as with them, for any sizes and precisions, and stores none.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from routings import assert_close, implementations, oracle, random_capsules, routed
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from capsnet.kernels import tiles, triton_routing
from capsnet.networks.routing import dynamic_routing

pytestmark = pytest.mark.usefixtures("one_thread")

LEAKY = pytest.mark.parametrize("leaky", [False, True], ids=["all", "leaky"])
IMPLEMENTATION = pytest.mark.parametrize("implementation", implementations())
# Sizes with which the interpreter of Triton's kernels is done in a moment.
SMALL = (3, 3, 4, 4, 8)
HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


class Allocations(TorchDispatchMode):
    """Records how many bytes the largest tensor has that any operation returns, or the one that it is a view of."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for each in returned if isinstance(returned, (tuple, list)) else [returned]:
            if isinstance(each, Tensor):
                self.largest = max(self.largest, each.untyped_storage().nbytes())
        return returned


# In Triton's interpreter it would take minutes to shrink an example.
PROPERTY = settings(derandomize=True, deadline=None, database=None, max_examples=10, phases=[Phase.generate])


@pytest.mark.parametrize("implementation", implementations(without=["triton"]))
@given(
    sizes=st.tuples(*(st.integers(*ends) for ends in [(1, 9), (1, 9), (2, 100), (4, 16), (4, 32)])),
    iterations=st.integers(1, 5),
    leaky=st.booleans(),
    tile=st.integers(1, 4),
)
@PROPERTY
def test_capsules_and_gradients_agree_with_stored_votes_in_float64(
    implementation: str, sizes: tuple[int, int, int, int, int], iterations: int, leaky: bool, tile: int
) -> None:
    batch, _, upper, dim, _ = sizes
    tensors = random_capsules(*sizes)
    with patch.object(tiles, "TILE_FLOATS", tile * batch * upper * dim):
        got = routed(implementation, *tensors, iterations=iterations, leaky=leaky)
    assert_close(got, oracle(*tensors, iterations=iterations, leaky=leaky))


@given(
    sizes=st.tuples(*(st.integers(*ends) for ends in [(1, 3), (1, 3), (2, 20), (4, 8), (4, 16)])),
    iterations=st.integers(1, 4),
    leaky=st.booleans(),
)
@settings(PROPERTY, max_examples=5)
def test_kernels_agree_with_stored_votes_in_float64(
    sizes: tuple[int, int, int, int, int], iterations: int, leaky: bool
) -> None:
    """The same for Triton's kernels in sizes for their interpreter; test_triton_routing.py has larger ones."""
    tensors = random_capsules(*sizes)
    got = routed("triton", *tensors, iterations=iterations, leaky=leaky)
    assert_close(got, oracle(*tensors, iterations=iterations, leaky=leaky))


@pytest.mark.parametrize("implementation", implementations(without=["triton"]))
@LEAKY
@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("sizes", [(33, 50, 10, 8, 16), (7, 41, 2, 4, 32), (3, 29, 100, 16, 4)])
def test_many_capsules_in_tiles_agree_with_stored_votes_in_float64(
    implementation: str,
    sizes: tuple[int, int, int, int, int],
    iterations: int,
    leaky: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, lower, upper, dim, _ = sizes
    monkeypatch.setattr(tiles, "TILE_FLOATS", 12 * batch * upper * dim)
    assert lower % 12
    tensors = random_capsules(*sizes)
    options = {"iterations": iterations, "leaky": leaky}
    assert_close(routed(implementation, *tensors, **options), oracle(*tensors, **options))


@LEAKY
def test_tiles_have_exact_gradients_to_every_digit_of_finite_differences(
    leaky: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE_FLOATS", 2 * 2 * 2 * 2)
    inputs, weight, bias, _ = (each.double().requires_grad_() for each in random_capsules(2, 3, 2, 2, 2))

    def capsules(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return dynamic_routing(inputs, weight, bias, leaky=leaky, implementation="tiled").capsules

    assert torch.autograd.gradcheck(capsules, (inputs, weight, bias))


@IMPLEMENTATION
@HALF
def test_half_precision_is_routed_in_float32(implementation: str, dtype: torch.dtype) -> None:
    """All that half precision costs is the rounding of what is given, and of the gradients that are handed back."""
    tensors = random_capsules(*SMALL, dtype)
    arguments = [each.requires_grad_() for each in tensors[:3]]
    capsules, _ = dynamic_routing(*arguments, implementation=implementation)
    assert capsules.dtype == torch.float32
    capsules.backward(tensors[3])
    expected = oracle(*tensors)
    assert (capsules - expected.capsules).abs().max() <= 1e-5 * expected.capsules.abs().max()
    for argument, gradient in zip(arguments, expected[1:], strict=True):
        assert argument.grad is not None
        assert argument.grad.dtype == dtype
        half_a_digit = torch.finfo(dtype).eps / 2
        torch.testing.assert_close(
            argument.grad.double(), gradient, rtol=1.01 * half_a_digit, atol=1e-5 * gradient.abs().max().item()
        )


@IMPLEMENTATION
def test_autocast_leaves_routing_in_float32(implementation: str) -> None:
    tensors = random_capsules(*SMALL)
    usual = routed(implementation, *tensors)
    inputs, weight, bias = (each.requires_grad_() for each in tensors[:3])
    with torch.autocast("cpu", torch.bfloat16):
        capsules, coupling = dynamic_routing(inputs, weight, bias, with_coupling=True, implementation=implementation)
    assert coupling is not None
    assert capsules.dtype == coupling.dtype == torch.float32
    capsules.backward(tensors[3])
    for one, other in zip((capsules, inputs.grad, weight.grad, bias.grad), usual, strict=True):
        assert one is not None
        assert torch.equal(one.double(), other)


@pytest.mark.parametrize("implementation", implementations(without=["triton"]))
def test_two_routings_give_equal_bytes(implementation: str) -> None:
    tensors = random_capsules(*SMALL)
    for one, other in zip(routed(implementation, *tensors), routed(implementation, *tensors), strict=True):
        assert torch.equal(one, other)


def largest_allocation(implementation: str, tensors: tuple[Tensor, ...], leaky: bool) -> int:
    inputs, weight, bias = (each.clone().requires_grad_() for each in tensors[:3])
    with Allocations() as allocations:
        capsules, _ = dynamic_routing(
            inputs, weight, bias, with_coupling=True, leaky=leaky, implementation=implementation
        )
        capsules.backward(tensors[3])
    assert weight.grad is not None
    return allocations.largest


# Compiled code allocates where no mode can look; it is the code of "tiled".
@pytest.mark.parametrize("implementation", implementations(without=["plain"], slow=["triton"]))
@LEAKY
def test_nothing_as_large_as_the_votes_is_ever_allocated(
    implementation: str, leaky: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, lower, upper, dim, upper_dim = sizes = (16, 20, 3, 4, 16)
    monkeypatch.setattr(tiles, "TILE_FLOATS", 3 * batch * upper * dim)
    monkeypatch.setattr(triton_routing, "SCRATCH", 3 * batch * upper * dim)
    votes = 4 * batch * lower * upper * upper_dim
    tensors = random_capsules(*sizes)
    assert largest_allocation(implementation, tensors, leaky) <= votes // 2
    assert largest_allocation("plain", tensors, leaky) >= votes


@pytest.mark.parametrize("implementation", implementations())
@LEAKY
def test_no_images_give_no_capsules_and_gradients_of_zero(implementation: str, leaky: bool) -> None:
    inputs, weight, bias, _ = random_capsules(0, 4, 3, 2, 5)
    arguments = [each.requires_grad_() for each in (inputs, weight, bias)]
    capsules, coupling = dynamic_routing(*arguments, leaky=leaky, with_coupling=True, implementation=implementation)
    capsules.sum().backward()
    assert coupling is not None
    assert capsules.shape == (0, 3, 5)
    assert coupling.shape == (0, 4, 3)
    for argument in arguments:
        assert argument.grad is not None
        assert argument.grad.shape == argument.shape
        assert argument.grad.eq(0).all()


@pytest.mark.parametrize("implementation", implementations(without=["triton"]))
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_a_gradient_that_nobody_asks_for_is_left_out_and_changes_no_other(implementation: str, frozen: int) -> None:
    tensors = random_capsules(*SMALL)
    usual = routed(implementation, *tensors)
    arguments = [each.clone().requires_grad_(place != frozen) for place, each in enumerate(tensors[:3])]
    dynamic_routing(*arguments, implementation=implementation).capsules.backward(tensors[3])
    for place, argument in enumerate(arguments):
        if place == frozen:
            assert argument.grad is None
        else:
            assert argument.grad is not None
            torch.testing.assert_close(argument.grad.double(), usual[place + 1], rtol=1e-6, atol=1e-6)


@IMPLEMENTATION
def test_long_votes_give_finite_capsules_and_gradients(implementation: str) -> None:
    """Logits of thousands: a softmax that does not subtract the highest overflows."""
    inputs, weight, bias, grad_capsules = random_capsules(*SMALL)
    for leaky in (False, True):
        got = routed(implementation, 1e3 * inputs, 10 * weight, bias, grad_capsules, leaky=leaky)
        assert all(each.isfinite().all() for each in got)
