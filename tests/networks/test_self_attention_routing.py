"""The exponential squash and self-attention routing: laws, loops, numbers worked by hand.

Axes: B batch, I lower capsules, J upper capsules, K and D their pose sizes."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from capsnet.networks.routing import self_attention_routing
from capsnet.networks.squash import exponential_squash

pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("length", [1e-12, 1e-3, 0.5, 1.0, 3.0, 40.0])
def test_squash_keeps_the_direction_and_makes_the_length_one_minus_its_exponential(length: float) -> None:
    direction = functional.normalize(random(5, 8), dim=1)
    squashed = exponential_squash(length * direction)
    expected = direction * -math.expm1(-length)
    torch.testing.assert_close(squashed, expected, rtol=1e-12, atol=0)


def test_squash_worked_by_hand() -> None:
    """|(3, 4)| is 5, and 1 - exp(-5) = 0.993262; along another axis it is the same."""
    vector = torch.tensor([[3.0], [4.0]], dtype=torch.float64)
    expected = torch.tensor([[0.595957], [0.794610]], dtype=torch.float64)
    torch.testing.assert_close(exponential_squash(vector, dim=0), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_squash_of_zero_is_zero_and_its_derivative_the_identity(dtype: torch.dtype) -> None:
    zero = torch.zeros(4, dtype=dtype)
    assert exponential_squash(zero).eq(0).all()
    torch.testing.assert_close(torch.autograd.functional.jacobian(exponential_squash, zero), torch.eye(4, dtype=dtype))


@pytest.mark.parametrize("length", [1e-30, 1e-15, 1e-6, 1e-3])
def test_squash_of_short_vectors_has_the_right_gradient_in_float32(length: float) -> None:
    vector = length * torch.tensor([0.6, 0.0, 0.8])
    torch.testing.assert_close(
        torch.autograd.functional.jacobian(exponential_squash, vector), torch.eye(3), rtol=0, atol=2 * length + 1e-6
    )


def test_squash_has_the_gradient_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(exponential_squash, (random(3, 4).requires_grad_(),))


def in_loops(inputs: Tensor, weight: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Route as the paper writes it: an image, a class, a capsule at a time."""
    batch, lower, _ = inputs.shape
    _, upper, _, dim = weight.shape
    capsules, coupling = inputs.new_zeros(batch, upper, dim), inputs.new_zeros(batch, lower, upper)
    for b in range(batch):
        attention = inputs.new_zeros(upper, lower)
        votes = [[inputs[b, i] @ weight[i, j] for i in range(lower)] for j in range(upper)]
        for j in range(upper):
            for i in range(lower):
                attention[j, i] = sum(torch.dot(votes[j][i], votes[j][k]) for k in range(lower)) / math.sqrt(dim)
        for i in range(lower):
            exponentials = [math.exp(attention[j, i]) for j in range(upper)]
            for j in range(upper):
                coupling[b, i, j] = exponentials[j] / sum(exponentials)
        for j in range(upper):
            total = sum((coupling[b, i, j] + prior[i, j]) * votes[j][i] for i in range(lower))
            length = total.norm()
            capsules[b, j] = (1 - torch.exp(-length)) * total / length
    return capsules, coupling


@pytest.mark.parametrize(
    ("batch", "lower", "upper", "dims"), [(3, 4, 5, (2, 6)), (1, 16, 10, (8, 16)), (2, 1, 2, (1, 1))]
)
def test_routing_is_the_loop_of_the_paper(batch: int, lower: int, upper: int, dims: tuple[int, int]) -> None:
    inputs, weight = random(batch, lower, dims[0]), random(lower, upper, *dims, seed=1)
    prior = random(lower, upper, seed=2)
    routed = self_attention_routing(inputs, weight, prior, with_coupling=True)
    capsules, coupling = in_loops(inputs, weight, prior)
    torch.testing.assert_close(routed.capsules, capsules, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(routed.coupling, coupling, rtol=1e-10, atol=1e-12)


def test_routing_worked_by_hand() -> None:
    """Two capsules of one number vote for two classes of one: 1 and 2 for the first, 1 and -1 for the second.

    Attention is 1 x 3 and 2 x 3 for the first class, 1 x 0 and -1 x 0 for the second, so that coupling is
    (0.952574, 0.047426) and (0.997527, 0.002473), and totals are 2.947628 and 0.044953.
    """
    inputs = torch.ones(1, 2, 1, dtype=torch.float64)
    weight = torch.tensor([[[[1.0]], [[1.0]]], [[[2.0]], [[-1.0]]]], dtype=torch.float64)
    routed = self_attention_routing(inputs, weight, with_coupling=True)
    assert routed.coupling is not None
    coupling = torch.tensor([[[0.952574, 0.047426], [0.997527, 0.002473]]], dtype=torch.float64)
    torch.testing.assert_close(routed.coupling, coupling, rtol=0, atol=1e-6)
    expected = torch.tensor([[[1 - math.exp(-2.947628)], [1 - math.exp(-0.044953)]]], dtype=torch.float64)
    torch.testing.assert_close(routed.capsules, expected, rtol=0, atol=1e-6)


def test_coupling_sums_to_one_over_the_upper_capsules_and_is_returned_only_if_asked_for() -> None:
    inputs, weight, prior = random(3, 5, 4), random(5, 6, 4, 7), random(5, 6)
    routed = self_attention_routing(inputs, weight, prior, with_coupling=True)
    assert routed.coupling is not None
    torch.testing.assert_close(routed.coupling.sum(2), torch.ones(3, 5, dtype=torch.float64))
    assert not routed.coupling.requires_grad
    assert self_attention_routing(inputs, weight, prior).coupling is None


def test_classes_and_images_are_routed_alike_in_any_order() -> None:
    inputs, weight, prior = random(4, 5, 3), random(5, 6, 3, 2), random(5, 6)
    order, images = torch.randperm(6), torch.tensor([2, 0, 3, 1])
    usual = self_attention_routing(inputs, weight, prior).capsules
    other = self_attention_routing(inputs[images], weight[:, order], prior[:, order]).capsules
    torch.testing.assert_close(other, usual[images][:, order])


def test_routing_has_the_gradient_of_finite_differences() -> None:
    tensors = (random(2, 3, 2), random(3, 2, 2, 3), random(3, 2))
    leaves = tuple(tensor.requires_grad_() for tensor in tensors)
    assert torch.autograd.gradcheck(lambda *given: self_attention_routing(*given).capsules, leaves)


def test_zero_capsules_stay_zero_with_finite_gradients() -> None:
    leaves = [torch.zeros(1, 3, 4).requires_grad_(), random(3, 2, 4, 5).float().requires_grad_()]
    capsules = self_attention_routing(*leaves).capsules
    assert capsules.eq(0).all()
    capsules.sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


def test_capsules_are_routed_in_float32_under_autocast_and_in_half_precision() -> None:
    inputs, weight = random(2, 3, 4).float(), random(3, 2, 4, 5).float()
    usual = self_attention_routing(inputs, weight).capsules
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(self_attention_routing(inputs, weight).capsules, usual)
    half = self_attention_routing(inputs.bfloat16(), weight.bfloat16()).capsules
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, usual, rtol=0.05, atol=0.05)
