"""Which convolution is chosen, and that the choice changes nothing but rounding."""

import pytest
import torch
from convolutions import directly, error, images_and_kernels, there_and_back
from torch.nn import functional

from capsnet.kernels import convolution
from capsnet.kernels.convolution import WORTH_IT, conv2d, saved_factor
from capsnet.kernels.fourier import BLOCK, fourier_conv2d

CHANNELS = BLOCK // 8  # of a part in float64
pytestmark = pytest.mark.usefixtures("one_thread")
PAPER = ((128, 256, 20, 20), (256, 256, 9, 9), 2)  # images, kernels and stride of Sabour et al. 2017, section 4


def test_the_saved_factor_counts_the_multiplications_worked_by_hand() -> None:
    """Those of `Y[r] = X[r] W[r]` in 4 phases, of U with all 400 pixels, V with all 81 weights, A with 36 outputs."""
    batch, channels, outputs = 7, 5, 3
    by_definition = 36 * 81 * batch * channels * outputs
    products = 4 * batch * channels * outputs
    transforms = 400 * batch * channels + 81 * channels * outputs + 36 * batch * outputs
    expected = by_definition / (148 * products + 100 * transforms)
    got = saved_factor(torch.Size([batch, channels, 20, 20]), torch.Size([outputs, channels, 9, 9]), 2)
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
    assert (saved_factor(torch.Size(images), torch.Size(kernels), stride) >= WORTH_IT) == chosen


@pytest.mark.parametrize("chosen", [True, False], ids=["Fourier", "direct"])
def test_conv2d_takes_the_one_with_the_advantage_and_adds_the_bias(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    monkeypatch.setattr(convolution, "WORTH_IT", 0.0 if chosen else 1e9)
    monkeypatch.setattr(
        convolution, "fourier_conv2d", lambda *given, **named: taken.append(1) or fourier_conv2d(*given, **named)
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
    monkeypatch.setattr(convolution, "saved_factor", lambda *shapes: 2 * WORTH_IT if chosen else 0.0)
    inputs, weight = images_and_kernels(3, channels, 4, 11, kernel)
    inputs[0, 0] = 0.0
    before = inputs.clone()
    got = there_and_back(lambda *given: conv2d(*given[:2], None, given[2], rectify=True), inputs, weight, stride)
    expected = there_and_back(lambda images, *others: directly(images.relu(), *others), inputs, weight, stride)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert got.inputs[0, 0].eq(0).all()
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("with_bias", [False, True], ids=["no bias", "bias"])
def test_outputs_and_gradients_have_the_channels_last(with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "WORTH_IT", 0.0)
    inputs, weight = (each.requires_grad_() for each in images_and_kernels(3, 5, 4, 12, 5, torch.float32))
    bias = torch.ones(4) if with_bias else None
    outputs = conv2d(inputs, weight, bias)
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    inner = torch.autograd.grad(outputs.sum(), (inputs, weight))
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in inner)


def test_bias_under_autocast_is_added_in_the_type_of_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "WORTH_IT", 0.0)
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
