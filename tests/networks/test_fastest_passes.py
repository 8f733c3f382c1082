"""Routing takes the fastest passes that work on the machine, and warns once if others would be faster."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from routings import random_capsules, routed

from capsnet.kernels import triton_routing
from capsnet.networks import fused_routing

pytestmark = pytest.mark.usefixtures("one_thread")


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
    with pytest.raises(ValueError, match="got 'triton', expected 'auto' or another one without Triton"):
        fused_routing.PASSES["triton"]()


def test_kernels_refuse_poses_that_take_minutes_to_compile_by_their_number() -> None:
    tensors = random_capsules(2, 3, 2, 33, 4)
    with pytest.raises(ValueError, match="got 'triton' for lower capsules of 33 dimensions, expected at most 32"):
        routed("triton", *tensors)
