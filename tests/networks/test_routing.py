"""Squash and routing: laws, a naive reference, gradients, edges.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from routings import implementations, precision
from torch import Tensor

from capsnet.kernels import tiles
from capsnet.networks.routing import Routing, dynamic_routing
from capsnet.networks.squash import squash

pytestmark = pytest.mark.usefixtures("one_thread", "few_capsules_a_tile")

LEAKY = pytest.mark.parametrize("leaky", [False, True], ids=["all", "leaky"])
IMPLEMENTATION = pytest.mark.parametrize("implementation", implementations())


@pytest.fixture
def few_capsules_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of several tiles is smaller than the others wherever there are 4 lower capsules and 5 images."""
    monkeypatch.setattr(tiles, "TILE_FLOATS", 3 * 5 * 3 * 2)


def capsules_and_weights(
    batch: int, lower: int = 4, upper: int = 3, dim: int = 2, upper_dim: int = 3, implementation: str = "plain"
) -> tuple[Tensor, Tensor, Tensor]:
    """Make inputs, weights and bias large enough for couplings far from uniform, in the implementation's precision."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    made = normal(batch, lower, dim), 1.5 * normal(lower, upper, dim, upper_dim), normal(upper, upper_dim)
    inputs, weight, bias = (each.to(precision(implementation)) for each in made)
    return inputs, weight, bias


def route(implementation: str, inputs: Tensor, weight: Tensor, bias: Tensor | None = None, **options: Any) -> Routing:
    """Route and ask for the coupling."""
    return dynamic_routing(inputs, weight, bias, with_coupling=True, implementation=implementation, **options)


def naive_routing(inputs: Tensor, weight: Tensor, bias: Tensor | None, iterations: int, leaky: bool) -> Routing:
    """Procedure 1 of Sabour et al. 2017, one number at a time."""
    u, w = inputs.tolist(), weight.tolist()
    uppers, upper_dims = range(weight.shape[1]), range(weight.shape[3])
    added = bias.tolist() if bias is not None else [[0.0 for _ in upper_dims] for _ in uppers]
    all_capsules, all_couplings = [], []
    for image in u:
        votes = [
            [[sum(pose[k] * w[i][j][k][d] for k in range(len(pose))) for d in upper_dims] for j in uppers]
            for i, pose in enumerate(image)
        ]
        logits = [[0.0 for _ in uppers] for _ in image]
        for _ in range(iterations):
            coupling = []
            for row in logits:
                total = sum(math.exp(logit) for logit in row) + (1.0 if leaky else 0.0)
                coupling.append([math.exp(logit) / total for logit in row])
            capsules = []
            for j in uppers:
                s = [sum(c[j] * vote[j][d] for c, vote in zip(coupling, votes, strict=True)) for d in upper_dims]
                s = [value + extra for value, extra in zip(s, added[j], strict=True)]
                square = sum(value**2 for value in s)
                capsules.append([square / (1 + square) * value / math.sqrt(square) for value in s])
            for row, vote in zip(logits, votes, strict=True):
                for j in uppers:
                    row[j] += sum(vote[j][d] * capsules[j][d] for d in upper_dims)
        all_capsules.append(capsules)
        all_couplings.append(coupling)
    return Routing(torch.tensor(all_capsules).to(inputs), torch.tensor(all_couplings).to(inputs))


def assert_same(got: Routing, expected: Routing) -> None:
    torch.testing.assert_close(got.capsules, expected.capsules)
    torch.testing.assert_close(coupling_of(got), coupling_of(expected))


def coupling_of(routing: Routing) -> Tensor:
    assert routing.coupling is not None
    return routing.coupling


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6).filter(lambda s: math.hypot(*s) > 1e-6))
@settings(derandomize=True, deadline=None, database=None, max_examples=50)
def test_squash_gives_length_n2_over_1_plus_n2_and_keeps_the_direction(numbers: list[float]) -> None:
    vector = torch.tensor(numbers, dtype=torch.float64)
    norm = math.hypot(*numbers)
    torch.testing.assert_close(squash(vector), vector / norm * (norm**2 / (1 + norm**2)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dim", [0, 1, 2, -2])
def test_squash_acts_along_the_axis_asked_for(dim: int) -> None:
    vectors = capsules_and_weights(5)[0]
    along = squash(vectors, dim)
    lengths = torch.linalg.vector_norm(vectors, dim=dim)
    torch.testing.assert_close(torch.linalg.vector_norm(along, dim=dim), lengths**2 / (1 + lengths**2))


def test_squash_gives_the_numbers_worked_by_hand() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 1.0], [-0.5, 0.0]])
    expected = torch.tensor([[25 / 26 * 0.6, 25 / 26 * 0.8], [0.0, 0.5], [-0.2, 0.0]])
    torch.testing.assert_close(squash(vectors), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squash_maps_the_zero_vector_to_itself_with_gradient_zero(dtype: torch.dtype) -> None:
    vectors = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    squashed = squash(vectors)
    squashed.sum().backward()
    assert squashed.eq(0).all()
    assert vectors.grad is not None
    torch.testing.assert_close(vectors.grad, torch.zeros_like(vectors), rtol=0, atol=1e-15)


@IMPLEMENTATION
@LEAKY
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
@pytest.mark.parametrize("with_bias", [False, True], ids=["no bias", "bias"])
def test_every_implementation_agrees_with_a_naive_loop(
    implementation: str, leaky: bool, iterations: int, with_bias: bool
) -> None:
    inputs, weight, bias = capsules_and_weights(5, implementation=implementation)
    chosen = bias if with_bias else None
    got = route(implementation, inputs, weight, chosen, iterations=iterations, leaky=leaky)
    assert_same(got, naive_routing(inputs, weight, chosen, iterations, leaky))


def test_three_iterations_without_bias_or_leak_are_the_default() -> None:
    inputs, weight, _ = capsules_and_weights(2)
    assert_same(dynamic_routing(inputs, weight, with_coupling=True), naive_routing(inputs, weight, None, 3, False))


# Finite differences need float64; tests/networks/test_fused_routing.py compares the gradients of the others.
@pytest.mark.parametrize("implementation", implementations(without=["triton"]))
@LEAKY
@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("with_bias", [False, True], ids=["no bias", "bias"])
def test_gradients_flow_through_all_iterations_and_are_exact(
    implementation: str, leaky: bool, iterations: int, with_bias: bool
) -> None:
    inputs, weight, bias = capsules_and_weights(5, lower=3, upper=2, upper_dim=2)
    arguments = [each.requires_grad_() for each in ((inputs, weight, bias) if with_bias else (inputs, weight))]

    def capsules(*tensors: Tensor) -> Tensor:
        options = {"iterations": iterations, "leaky": leaky, "implementation": implementation}
        return dynamic_routing(*tensors, **options).capsules

    assert torch.autograd.gradcheck(capsules, arguments, fast_mode=True)


@IMPLEMENTATION
@LEAKY
def test_coupling_is_shared_out_among_the_upper_capsules(implementation: str, leaky: bool) -> None:
    inputs, weight, bias = capsules_and_weights(5, implementation=implementation)
    coupling = coupling_of(route(implementation, inputs, weight, bias, leaky=leaky))
    shares = coupling.sum(2)
    assert coupling.min() > 0
    if leaky:
        assert shares.max() < 1 - 1e-6
    else:
        torch.testing.assert_close(shares, torch.ones_like(shares))
    over_lower = coupling.sum(1)
    assert not torch.allclose(over_lower, torch.ones_like(over_lower), atol=0.05)


@IMPLEMENTATION
def test_leaky_coupling_starts_as_softmax_of_one_more_zero_logit(implementation: str) -> None:
    inputs, weight, _ = capsules_and_weights(2, upper=3, implementation=implementation)
    coupling = coupling_of(route(implementation, inputs, weight, iterations=1, leaky=True))
    torch.testing.assert_close(coupling, torch.full_like(coupling, 1 / 4))


@IMPLEMENTATION
@LEAKY
def test_coupling_is_what_made_the_capsules_and_is_there_only_if_asked_for_without_a_gradient(
    implementation: str, leaky: bool
) -> None:
    inputs, weight, bias = capsules_and_weights(5, implementation=implementation)
    inputs, weight, bias = inputs.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()
    options = {"leaky": leaky, "implementation": implementation}
    assert dynamic_routing(inputs, weight, bias, **options).coupling is None
    capsules, coupling = dynamic_routing(inputs, weight, bias, with_coupling=True, **options)
    assert coupling is not None
    assert not coupling.requires_grad
    votes = torch.einsum("bik,ijkd->bijd", inputs, weight)
    torch.testing.assert_close(capsules, squash(torch.einsum("bij,bijd->bjd", coupling, votes) + bias))


@IMPLEMENTATION
@LEAKY
def test_order_of_capsules_on_either_side_does_not_matter(implementation: str, leaky: bool) -> None:
    inputs, weight, bias = capsules_and_weights(5, implementation=implementation)
    lower, upper = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    usual = route(implementation, inputs, weight, bias, leaky=leaky)
    permuted = route(implementation, inputs[:, lower], weight[lower][:, upper], bias[upper], leaky=leaky)
    assert_same(permuted, Routing(usual.capsules[:, upper], coupling_of(usual)[:, lower][:, :, upper]))


@IMPLEMENTATION
def test_turning_all_votes_turns_the_capsules_and_leaves_the_coupling(implementation: str) -> None:
    inputs, weight, _ = capsules_and_weights(5, implementation=implementation)
    turn = torch.linalg.qr(capsules_and_weights(1, lower=3, dim=3)[0][0]).Q.to(weight)
    capsules, coupling = route(implementation, inputs, weight)
    assert_same(route(implementation, inputs, weight @ turn), Routing(capsules @ turn, coupling))


@IMPLEMENTATION
@LEAKY
def test_an_image_is_routed_alike_whatever_its_batch_mates(implementation: str, leaky: bool) -> None:
    inputs, weight, bias = capsules_and_weights(19, implementation=implementation)
    together = route(implementation, inputs, weight, bias, leaky=leaky)
    for chosen in (0, 18):
        alone = route(implementation, inputs[chosen : chosen + 1], weight, bias, leaky=leaky)
        image = slice(chosen, chosen + 1)
        assert_same(alone, Routing(together.capsules[image], coupling_of(together)[image]))


@IMPLEMENTATION
@LEAKY
@pytest.mark.parametrize("single", [True, False], ids=["single precision", "highest precision"])
def test_zero_capsules_give_finite_values_and_gradients(implementation: str, leaky: bool, single: bool) -> None:
    dtype = torch.float32 if single else precision(implementation)
    inputs = torch.zeros(2, 4, 2, dtype=dtype, requires_grad=True)
    weight = capsules_and_weights(1)[1].to(dtype).requires_grad_()
    capsules, coupling = route(implementation, inputs, weight, leaky=leaky)
    (capsules.sum() + torch.linalg.vector_norm(capsules, dim=2).sum()).backward()
    assert capsules.eq(0).all()
    for tensor in (coupling, inputs.grad, weight.grad):
        assert tensor is not None
        assert tensor.isfinite().all()


@IMPLEMENTATION
@pytest.mark.parametrize("upper", [1, 2])
def test_one_image_and_few_classes_keep_their_axes(implementation: str, upper: int) -> None:
    inputs, weight, bias = capsules_and_weights(1, upper=upper, implementation=implementation)
    routing = route(implementation, inputs, weight, bias)
    coupling = coupling_of(routing)
    assert routing.capsules.shape == (1, upper, 3)
    assert coupling.shape == (1, 4, upper)
    torch.testing.assert_close(coupling.sum(2), torch.ones_like(coupling[:, :, 0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations: got 0, expected at least 1"),
        ({"implementation": "fast"}, "implementation: got 'fast', expected one of plain, auto, tiled, triton"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    inputs, weight, _ = capsules_and_weights(1)
    with pytest.raises(ValueError, match=message):
        dynamic_routing(inputs, weight, **options)


def test_shape_annotations_of_the_library_are_checked_in_tests() -> None:
    inputs, weight, bias = capsules_and_weights(2)
    with pytest.raises(TypeCheckError):
        dynamic_routing(inputs, weight[:3], bias)
