"""Routing takes the fastest passes that work on the machine, and warns once if others would be faster."""

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from routings import RoutingGradients, random_capsules, routed

from capsnet.kernels import tiles, triton_routing
from capsnet.networks import fused_routing

pytestmark = pytest.mark.usefixtures("one_thread")
# Sizes with which the interpreter of Triton's kernels is done in a moment.
SMALL = (3, 3, 4, 4, 8)


@pytest.fixture
def can_compile_is_asked_anew() -> Iterator[None]:
    tiles.can_compile.cache_clear()
    yield
    tiles.can_compile.cache_clear()


def test_without_a_compiler_routing_warns_once_and_is_the_tiled_one(
    can_compile_is_asked_anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(function: Any) -> Any:
        raise RuntimeError("InvalidCxxCompiler: no compiler found\n\n")

    monkeypatch.setattr(tiles, "_compiled", missing)
    tensors = random_capsules(*SMALL)
    expected = "torch.compile does not work here, so routing does not use it: InvalidCxxCompiler: no compiler found"
    with pytest.warns(UserWarning, match=expected) as caught:
        got: RoutingGradients = routed("compiled", *tensors)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = routed("compiled", *tensors)
    for one, other, tiled in zip(got, again, routed("tiled", *tensors), strict=True):
        assert torch.equal(one, tiled)
        assert torch.equal(other, tiled)


@pytest.fixture
def kernels_are_asked_anew() -> Iterator[None]:
    for cached in (fused_routing._kernels, triton_routing.can_launch):
        cached.cache_clear()
    yield
    for cached in (fused_routing._kernels, triton_routing.can_launch):
        cached.cache_clear()


@pytest.mark.usefixtures("kernels_are_asked_anew")
def test_kernels_are_taken_where_they_can_be_launched_for_all_but_double_precision_and_long_poses() -> None:
    assert fused_routing._kernels_accept(torch.ones(2, 3, 32))
    assert not fused_routing._kernels_accept(torch.ones(2, 3, 33))
    assert not fused_routing._kernels_accept(torch.ones(2, 3, 32, dtype=torch.float64))


@pytest.mark.usefixtures("kernels_are_asked_anew")
def test_kernels_that_cannot_be_launched_are_not_taken_and_one_warning_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoCompiler:
        def __getitem__(self, grid: object) -> Any:
            raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nmore")

    monkeypatch.setattr(triton_routing, "probe_kernel", NoCompiler())
    expected = "Triton cannot launch kernels here, so routing does not use it: Failed to find C compiler"
    with pytest.warns(UserWarning, match=expected) as caught:
        assert [fused_routing._kernels_accept(torch.ones(2, 3, 8)) for _ in range(2)] == [False, False]
    assert len(caught) == 1


@pytest.mark.usefixtures("kernels_are_asked_anew")
def test_without_triton_one_warning_says_so_and_no_kernel_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "capsnet.kernels.triton_routing")
    monkeypatch.delattr("capsnet.kernels.triton_routing")
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.warns(UserWarning, match="Triton is not installed") as caught:
        assert [fused_routing._kernels_accept(torch.ones(2, 3, 8)) for _ in range(2)] == [False, False]
    assert len(caught) == 1


def test_kernels_refuse_poses_that_take_minutes_to_compile_by_their_number() -> None:
    tensors = random_capsules(2, 3, 2, 33, 4)
    with pytest.raises(ValueError, match="got 'triton' for lower capsules of 33 dimensions, expected at most 32"):
        routed("triton", *tensors)
