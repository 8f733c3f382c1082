"""Convolution as a matrix product against torch's own, values and gradients, in whatever parts it is done."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from capsnet.kernels import unfolded
from capsnet.kernels.fold import fold
from capsnet.kernels.unfolded import unfolded_conv2d

pytestmark = pytest.mark.usefixtures("one_thread")

# Images, channels, pixels, outputs, kernel, stride: the paper's primary capsules in small, a first layer, what is left
# over at the edge, a kernel as large as the image.
SIZES = [(5, 8, 20, 6, 9, 2), (3, 1, 28, 4, 9, 1), (4, 3, 11, 2, 4, 3), (2, 2, 5, 3, 5, 1), (1, 2, 6, 1, 1, 1)]


def arguments(sizes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    images, channels, pixels, outputs, kernel, stride = sizes
    generator = torch.Generator().manual_seed(3)
    side = (pixels - kernel) // stride + 1
    shapes = (images, channels, pixels, pixels), (outputs, channels, kernel, kernel), (images, outputs, side, side)
    inputs, weight, grad = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    return inputs.requires_grad_(), weight.requires_grad_(), grad


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("numbers", [1, 10_000, 2**27])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_torch_in_any_parts_and_layout(
    sizes: tuple[int, ...], numbers: int, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfolded, "NUMBERS", numbers)
    inputs, weight, grad = arguments(sizes)
    expected = functional.conv2d(inputs, weight, stride=sizes[5])
    wanted = torch.autograd.grad(expected, (inputs, weight), grad)
    laid_out = inputs.detach().contiguous(memory_format=layout).requires_grad_()
    got = unfolded_conv2d(laid_out, weight, sizes[5])
    given = torch.autograd.grad(got, (laid_out, weight), grad)
    for one, other in zip((got, *given), (expected, *wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert given[1].stride() == weight.stride()


def test_images_that_need_no_gradient_get_none() -> None:
    inputs, weight, grad = arguments(SIZES[0])
    frozen = inputs.detach()
    unfolded_conv2d(frozen, weight, 2).backward(grad)
    expected = torch.autograd.grad(functional.conv2d(frozen, weight, stride=2), weight, grad)[0]
    torch.testing.assert_close(weight.grad, expected, rtol=1e-12, atol=1e-12)
    assert frozen.grad is None


def test_under_autocast_products_and_result_are_in_its_type_and_gradients_in_that_of_the_arguments() -> None:
    inputs, weight, grad = arguments(SIZES[0], torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = unfolded_conv2d(inputs, weight, 2)
    assert outputs.dtype == torch.bfloat16
    given = torch.autograd.grad(outputs, (inputs, weight), grad.bfloat16())
    exact = functional.conv2d(inputs, weight, stride=2)
    wanted = torch.autograd.grad(exact, (inputs, weight), grad)
    for one, other in zip((outputs, *given), (exact, *wanted), strict=True):
        assert (one.float() - other).abs().max() <= 0.02 * other.abs().max()
    assert all(each.dtype == torch.float32 for each in given)


@pytest.mark.parametrize("allowed", [False, True])
def test_products_may_round_where_convolutions_may_and_the_setting_is_put_back(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    seen = []
    product = torch.mm

    def watched(*matrices: Tensor, **options: Tensor) -> Tensor:
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        return product(*matrices, **options)

    monkeypatch.setattr(torch, "mm", watched)
    inputs, weight, grad = arguments(SIZES[0], torch.float32)
    unfolded_conv2d(inputs, weight, 2).backward(grad)
    assert seen == [allowed] * 3
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("sizes", [(2, 3, 7, 4, 2), (1, 5, 6, 3, 1), (2, 2, 5, 5, 1), (1, 1, 8, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_adds_up_what_torch_adds_up(sizes: tuple[int, ...], dtype: torch.dtype) -> None:
    images, channels, height, size, stride = sizes
    side = (height - size) // stride + 1
    generator = torch.Generator().manual_seed(1)
    windows = torch.randn(images, side, side, size, size, channels, generator=generator).to(dtype)
    expected = torch.empty(images, height, height, channels)
    unfolded._add_up(windows.view(images * side**2, -1), expected, size, stride)
    got = fold(windows, torch.full_like(expected, torch.nan), stride)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
