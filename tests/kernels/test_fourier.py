"""Convolution in the Fourier domain against torch's own, and when it is chosen.

Axes: B batch, C input channels, N output channels, H input pixels, S kernel pixels and O output pixels along a side.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from trainings import Data, trainer_on

from capsnet.kernels import fourier
from capsnet.kernels.fourier import BLOCK, WORTH_IT, conv2d, fourier_conv2d
from capsnet.networks.capsnet import ModelConfig
from capsnet.networks.layers import PADDINGS
from capsnet.training.loop import TrainingConfig

CHANNELS = BLOCK // 8  # of a part in float64

pytestmark = pytest.mark.usefixtures("one_thread")

PAPER = ((128, 256, 20, 20), (256, 256, 9, 9), 2)  # images, kernels and stride of Sabour et al. 2017, section 4
Convolution = Callable[[Tensor, Tensor, int], Tensor]


class Gradients(NamedTuple):
    """The outputs and what a gradient of them is to images and kernels."""

    outputs: Tensor
    inputs: Tensor
    weight: Tensor


def images_and_kernels(
    batch: int, channels: int, outputs: int, size: int, kernel: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(batch, channels, size, size, generator=generator, dtype=torch.float64)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), (weight / (channels * kernel**2) ** 0.5).to(dtype)


def directly(inputs: Tensor, weight: Tensor, stride: int) -> Tensor:
    return functional.conv2d(inputs, weight, None, stride)


def there_and_back(convolve: Convolution, inputs: Tensor, weight: Tensor, stride: int) -> Gradients:
    arguments = [each.detach().clone().requires_grad_() for each in (inputs, weight)]
    outputs = convolve(*arguments, stride)
    grad_outputs = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    outputs.backward(grad_outputs.to(outputs.dtype))
    return Gradients(outputs.detach(), *(each.grad for each in arguments if each.grad is not None))


def error(got: Tensor, exact: Tensor) -> float:
    return float((got.double() - exact).norm() / exact.norm())


def assert_same(inputs: Tensor, weight: Tensor, stride: int) -> None:
    got, expected = (there_and_back(each, inputs, weight, stride) for each in (fourier_conv2d, directly))
    for name, one, other in zip(Gradients._fields, got, expected, strict=True):
        assert one.shape == other.shape, name
        assert (one - other).abs().max() <= 1e-12 * max(1.0, other.abs().max().item()), name


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    ("batch", "channels", "outputs", "size", "kernel"),
    [
        (3, 5, 4, 20, 9),
        (3, 5, 4, 19, 8),
        (1, 1, 1, 5, 3),
        (1, 7, 3, 11, 11),  # one output
        (2, CHANNELS, 3, 9, 5),
        (2, CHANNELS + 1, 3, 9, 5),
        (2, 2 * CHANNELS + 7, 3, 8, 4),
        (2, 3, CHANNELS + 5, 7, 6),
        (4, 3, 2, 12, 1),
        (4, 3, 2, 12, 2),  # smaller than a stride of 3
        (2, 2, 2, 1, 1),
    ],
)
def test_values_and_gradients_are_those_of_the_definition(
    batch: int, channels: int, outputs: int, size: int, kernel: int, stride: int
) -> None:
    assert_same(*images_and_kernels(batch, channels, outputs, size, kernel), stride)


@given(
    batch=st.integers(1, 4),
    channels=st.integers(1, CHANNELS + 3),
    outputs=st.integers(1, 5),
    kernel=st.integers(1, 9),
    wider=st.integers(0, 8),
    stride=st.integers(1, 4),
)
@settings(derandomize=True, deadline=None, database=None, max_examples=40, phases=[Phase.explicit, Phase.generate])
def test_any_square_images_and_kernels_give_values_and_gradients_of_the_definition(
    batch: int, channels: int, outputs: int, kernel: int, wider: int, stride: int
) -> None:
    assert_same(*images_and_kernels(batch, channels, outputs, kernel + wider, kernel), stride)


def test_gradients_are_those_of_finite_differences() -> None:
    inputs, weight = (each.requires_grad_() for each in images_and_kernels(2, 2, 2, 6, 3))
    assert torch.autograd.gradcheck(lambda images, kernels: fourier_conv2d(images, kernels, 2), (inputs, weight))


def test_the_memory_layout_of_the_arguments_changes_rounding_only() -> None:
    inputs, weight = images_and_kernels(3, 5, 4, 12, 5)
    expected = there_and_back(directly, inputs, weight, 2)
    scattered = [each.transpose(0, 3).contiguous().transpose(0, 3) for each in (inputs, weight)]
    channels_last = [each.to(memory_format=torch.channels_last) for each in (inputs, weight)]
    for arguments in (scattered, channels_last):
        for one, other in zip(there_and_back(fourier_conv2d, *arguments, 2), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_two_convolutions_give_equal_bytes() -> None:
    inputs, weight = images_and_kernels(3, 2 * CHANNELS + 1, 4, 12, 5, torch.float32)
    first, second = (there_and_back(fourier_conv2d, inputs, weight, 2) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_the_rounding_error_at_the_paper_s_layer_is_of_the_size_of_torch_s_own() -> None:
    inputs, weight = images_and_kernels(2, 256, 256, 20, 9)
    exact = there_and_back(directly, inputs, weight, 2)
    ours, theirs = (
        there_and_back(convolve, inputs.float(), weight.float(), 2) for convolve in (fourier_conv2d, directly)
    )
    assert error(ours.outputs, exact.outputs) <= error(theirs.outputs, exact.outputs)
    for name, one, other, truth in zip(Gradients._fields, ours, theirs, exact, strict=True):
        assert one.dtype == torch.float32, name
        assert error(one, truth) <= 3 * error(other, truth), name
        assert error(one, truth) <= 1e-6, name


def test_bfloat16_under_autocast_costs_less_than_one_percent() -> None:
    inputs, weight = images_and_kernels(2, 256, 32, 20, 9)
    exact = there_and_back(directly, inputs, weight, 2)

    def cast(images: Tensor, kernels: Tensor, stride: int) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = fourier_conv2d(images, kernels, stride)
        assert outputs.dtype == torch.bfloat16
        return outputs

    got = there_and_back(cast, inputs.float(), weight.float(), 2)
    for name, one, truth in zip(Gradients._fields, got, exact, strict=True):
        assert 1e-4 < error(one, truth) < 0.01, name
    assert got.inputs.dtype == got.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "products"), [(20, 9, 2, 148), (20, 9, 1, 598), (9, 3, 1, 121), (7, 3, 2, 22)]
)
def test_of_two_conjugate_frequencies_one_is_transformed_with_three_products(
    size: int, kernel: int, stride: int, products: int
) -> None:
    """10x10 frequencies: 4 are their own conjugates, 48 pairs take 3 products each; of 9x9 and 7x7 one is its own."""
    phases, of_products = fourier._matrices(size, kernel, stride)
    assert len(phases) == stride**2
    frequencies = (-(-size // stride)) ** 2
    assert {len(matrix) for _, *both in phases for matrix in (*both, of_products)} == {frequencies}
    assert fourier._num_products(frequencies) == products


def test_advantage_counts_the_multiplications_worked_by_hand() -> None:
    """Those of `Y[r] = X[r] W[r]` in 4 phases, of U with all 400 pixels, V with all 81 weights, A with 36 outputs."""
    batch, channels, outputs = 7, 5, 3
    by_definition = 36 * 81 * batch * channels * outputs
    products = 4 * batch * channels * outputs
    transforms = 400 * batch * channels + 81 * channels * outputs + 36 * batch * outputs
    expected = by_definition / (148 * products + 100 * transforms)
    got = fourier._advantage(torch.Size([batch, channels, 20, 20]), torch.Size([outputs, channels, 9, 9]), 2)
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("images", "kernels", "stride", "chosen"),
    [
        (*PAPER, True),
        ((1, *PAPER[0][1:]), *PAPER[1:], False),
        ((128, 1, 28, 28), (256, 1, 9, 9), 1, False),  # the paper's first layer
        ((128, 32, 20, 20), (32, 32, 9, 9), 2, False),  # the network for scikit-learn's digits
        ((128, 256, 20, 20), (256, 256, 1, 1), 2, False),
        ((128, 256, 8, 8), (256, 256, 9, 9), 2, False),  # larger than the image
    ],
    ids=["paper", "one image", "first layer", "digits", "smaller than the stride", "larger than the image"],
)
def test_the_fourier_domain_is_for_the_paper_s_large_layer_in_batches(
    images: tuple[int, ...], kernels: tuple[int, ...], stride: int, chosen: bool
) -> None:
    assert (fourier._advantage(torch.Size(images), torch.Size(kernels), stride) >= WORTH_IT) == chosen


@pytest.mark.parametrize("chosen", [True, False], ids=["Fourier", "direct"])
def test_conv2d_takes_the_one_with_the_advantage_and_adds_the_bias(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    monkeypatch.setattr(fourier, "WORTH_IT", 0.0 if chosen else 1e9)
    monkeypatch.setattr(
        fourier, "fourier_conv2d", lambda *given, **named: taken.append(1) or fourier_conv2d(*given, **named)
    )
    inputs, weight = images_and_kernels(3, 5, 4, 12, 5)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    outputs = conv2d(inputs, weight, bias, 2)
    torch.testing.assert_close(outputs, functional.conv2d(inputs, weight, bias, 2), rtol=1e-12, atol=1e-12)
    outputs.square().sum().backward()
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, 2 * outputs.detach().sum((0, 2, 3)))
    assert bool(taken) == chosen


@pytest.mark.parametrize("chosen", [True, False], ids=["Fourier", "direct"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("channels", "kernel"), [(5, 5), (CHANNELS + 1, 3), (3, 2)])
def test_a_rectified_convolution_is_that_of_the_images_relu(
    channels: int, kernel: int, stride: int, chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are leaves: they are kept as they were."""
    monkeypatch.setattr(fourier, "_advantage", lambda *shapes: 2 * WORTH_IT if chosen else 0.0)
    inputs, weight = images_and_kernels(3, channels, 4, 11, kernel)
    inputs[0, 0] = 0.0
    before = inputs.clone()
    got = there_and_back(lambda *given: conv2d(*given[:2], None, given[2], rectify=True), inputs, weight, stride)
    expected = there_and_back(lambda images, *others: directly(images.relu(), *others), inputs, weight, stride)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert got.inputs[0, 0].eq(0).all()
    assert torch.equal(inputs, before)


Look = Callable[[Tensor], object]
# Ways to see the images after the backward pass, or again in it.
LOOKS: dict[str, Look] = {
    "the images": lambda features: features,
    "without their graph": lambda features: features.detach(),
    "a part of them": lambda features: features[:, 1:],
    "as an array": lambda features: features.detach().numpy(),
    "their memory": lambda features: features.untyped_storage(),
    "their gradient": lambda features: features.retain_grad() or features,
}


def rectified(
    leaf: Tensor, weight: Tensor, make: Callable[[Tensor], Tensor], look: Look = lambda features: None
) -> Any:
    """Make features of a leaf that nobody keeps, convolve their ReLU, and return that and what `look` keeps."""
    features = make(leaf)
    kept = look(features)
    return fourier_conv2d(features, weight, rectify=True), kept


def twice(leaf: Tensor) -> Tensor:
    return leaf * 2


def gradient_by_definition(make: Callable[[Tensor], Tensor], leaf: Tensor, weight: Tensor) -> Tensor:
    (expected,) = torch.autograd.grad(directly(make(leaf).relu(), weight, 1).sum(), leaf)
    return expected


def test_images_that_nobody_sees_any_more_give_their_memory_to_their_gradient() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    gradients: list[Tensor] = []
    outputs, place = rectified(
        leaf, weight, twice, lambda features: features.register_hook(gradients.append) and features.data_ptr()
    )
    outputs.sum().backward()
    assert gradients[0].data_ptr() == place
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, gradient_by_definition(twice, leaf, weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_whoever_keeps_the_images_sees_them_as_they_were(look: Look) -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    gradients: list[Tensor] = []
    addresses: list[int] = []

    def watched(features: Tensor) -> object:
        addresses.append(features.data_ptr())
        features.register_hook(gradients.append)
        return look(features)

    outputs, kept = rectified(leaf, weight, twice, watched)
    outputs.sum().backward()
    assert gradients[0].data_ptr() != addresses[0]
    if isinstance(kept, Tensor):
        torch.testing.assert_close(kept, look(twice(leaf)), rtol=0, atol=0)
    torch.testing.assert_close(leaf.grad, gradient_by_definition(twice, leaf, weight), rtol=1e-12, atol=1e-12)


def test_a_gradient_that_is_retained_stands_beside_the_images() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    outputs, features = rectified(leaf, weight, twice, LOOKS["their gradient"])
    outputs.sum().backward()
    assert torch.equal(features, 2 * leaf)
    torch.testing.assert_close(2 * features.grad, leaf.grad)


@pytest.mark.parametrize("make", [torch.exp, torch.relu, torch.sigmoid], ids=["exp", "ReLU", "sigmoid"])
def test_what_made_the_images_may_need_them_for_its_own_gradient(make: Callable[[Tensor], Tensor]) -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    rectified(leaf, weight, make)[0].sum().backward()
    torch.testing.assert_close(leaf.grad, gradient_by_definition(make, leaf, weight), rtol=1e-12, atol=1e-12)


def test_a_graph_that_is_kept_gives_its_gradient_as_often_as_it_is_asked() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    outputs, _ = rectified(leaf, weight, twice)
    for number in (1, 2):
        outputs.sum().backward(retain_graph=number == 1)
        expected = number * gradient_by_definition(twice, leaf, weight)
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="second time"):
        outputs.sum().backward()


def test_images_that_somebody_changes_in_between_are_noticed() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    outputs, features = rectified(leaf, weight, twice, LOOKS["the images"])
    features.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_a_training_takes_the_memory_and_a_hook_on_a_layer_keeps_it(
    batch_norm: bool,
    padding: str,
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With zeros around them the features are copied: it is the copy whose memory is taken."""
    monkeypatch.setattr(fourier, "WORTH_IT", 0.0)
    taken: list[bool] = []
    alone = fourier._is_read_by_nobody_else
    monkeypatch.setattr(fourier, "_is_read_by_nobody_else", lambda saved: taken.append(alone(saved)) or taken[-1])
    config = replace(tiny_model, batch_norm=batch_norm, padding=padding)
    weights = []
    for hooked in (False, True):
        taken.clear()
        seed = trainer_on(tiny_data, config, tiny_training)
        kept: list[tuple[Tensor, Tensor]] = []
        if hooked:
            seed.model.encoder[1].register_forward_hook(
                lambda module, given, made, kept=kept: kept.append((made, made.detach().clone()))
            )
        steps = list(seed.epoch(1, [16, 16], [0.01, 0.01], 0.001))
        assert taken == [not hooked or padding == "same"] * len(steps)
        assert all(torch.equal(made.detach(), as_it_was) for made, as_it_was in kept)
        assert len(kept) == hooked * len(steps)
        weights.append(seed.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("with_bias", [False, True], ids=["no bias", "bias"])
def test_outputs_and_gradients_have_the_channels_last(with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fourier, "WORTH_IT", 0.0)
    inputs, weight = (each.requires_grad_() for each in images_and_kernels(3, 5, 4, 12, 5, torch.float32))
    bias = torch.ones(4) if with_bias else None
    outputs = conv2d(inputs, weight, bias)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    inner = torch.autograd.grad(outputs.sum(), (inputs, weight))
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in inner)


def test_bias_under_autocast_is_added_in_the_type_of_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fourier, "WORTH_IT", 0.0)
    inputs, weight = images_and_kernels(3, 5, 4, 12, 5, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = conv2d(inputs, weight, torch.ones(4), 2)
    assert outputs.dtype == torch.bfloat16
    assert error(outputs, functional.conv2d(inputs.double(), weight.double(), torch.ones(4).double(), 2)) < 0.01


def test_a_kernel_smaller_than_the_stride_is_convolved() -> None:
    inputs, weight = images_and_kernels(2, 3, 4, 9, 2)
    torch.testing.assert_close(conv2d(inputs, weight, None, 3), functional.conv2d(inputs, weight, None, 3))


def test_a_kernel_larger_than_the_image_is_refused_as_torch_refuses_it() -> None:
    inputs, weight = images_and_kernels(2, 3, 4, 5, 6)
    with pytest.raises(RuntimeError) as theirs:
        functional.conv2d(inputs, weight)
    with pytest.raises(RuntimeError) as ours:
        conv2d(inputs, weight)
    assert str(ours.value) == str(theirs.value)
