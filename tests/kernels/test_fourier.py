"""Convolution in the Fourier domain against torch's own, and when it is chosen.

Axes: B batch, C input channels, N output channels, H input pixels, S kernel pixels and O output pixels along a side.
"""

import pytest
import torch
from convolutions import ConvolutionGradients, directly, error, images_and_kernels, there_and_back
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from capsnet.kernels.fourier import BLOCK, fourier_conv2d
from capsnet.kernels.fourier_matrices import num_products, phases

CHANNELS = BLOCK // 8  # of a part in float64

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_same(inputs: Tensor, weight: Tensor, stride: int) -> None:
    got, expected = (there_and_back(each, inputs, weight, stride) for each in (fourier_conv2d, directly))
    for name, one, other in zip(ConvolutionGradients._fields, got, expected, strict=True):
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
    for name, one, other, truth in zip(ConvolutionGradients._fields, ours, theirs, exact, strict=True):
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
    for name, one, truth in zip(ConvolutionGradients._fields, got, exact, strict=True):
        assert 1e-4 < error(one, truth) < 0.01, name
    assert got.inputs.dtype == got.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "products"), [(20, 9, 2, 148), (20, 9, 1, 598), (9, 3, 1, 121), (7, 3, 2, 22)]
)
def test_of_two_conjugate_frequencies_one_is_transformed_with_three_products(
    size: int, kernel: int, stride: int, products: int
) -> None:
    """10x10 frequencies: 4 are their own conjugates, 48 pairs take 3 products each; of 9x9 and 7x7 one is its own."""
    all_phases, of_products = phases(size, kernel, stride)
    assert len(all_phases) == stride**2
    frequencies = (-(-size // stride)) ** 2
    matrices = [of_products, *(matrix for phase in all_phases for matrix in (phase.of_pixels, phase.of_weights))]
    assert {len(matrix) for matrix in matrices} == {frequencies}
    assert num_products(frequencies) == products
