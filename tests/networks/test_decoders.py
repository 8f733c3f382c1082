"""Decoders: the published sizes, and an image of the right shape for every size and number of channels."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from capsnet.networks.decoders import DECODERS, DeConvGeometry, Doubling, deconv_geometry

pytestmark = pytest.mark.usefixtures("one_thread")

BUILT = {name: build for name, build in DECODERS.items() if build is not None}
PUBLISHED = {"fc": 1_411_344, "deconv": 250_121}


def built(name: str, channels: int, image_size: int, *, batch_norm: bool = False, classes: int = 10) -> nn.Sequential:
    """Build a decoder of the paper's widths without memory behind it."""
    with torch.device("meta"):
        return BUILT[name](classes, 16, channels, image_size, hidden=(512, 1024), base=32, batch_norm=batch_norm)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("image_size", range(20, 65))
def test_every_decoder_makes_images_of_every_size(name: str, image_size: int) -> None:
    channels = 1 + image_size % 4
    images = built(name, channels, image_size)(torch.empty(2, 160, device="meta"))
    assert images.shape == (2, channels, image_size, image_size)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_every_decoder_makes_values_between_0_and_1_for_every_number_of_channels(
    name: str, channels: int, batch_norm: bool
) -> None:
    torch.manual_seed(0)
    decoder = BUILT[name](2, 3, channels, 21, hidden=(5,), base=2, batch_norm=batch_norm)
    images = decoder(100 * torch.randn(4, 6))
    assert images.shape == (4, channels, 21, 21)
    assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize(("name", "expected"), PUBLISHED.items())
def test_parameter_counts_are_the_published_ones(name: str, expected: int) -> None:
    assert num_parameters(built(name, 1, 28)) == expected


@pytest.mark.parametrize(("name", "hidden"), [("fc", [512, 1024]), ("deconv", [360, 32, 64])])
def test_batch_norm_comes_before_the_relu_of_each_hidden_layer_and_nowhere_else(name: str, hidden: list[int]) -> None:
    layers = list(built(name, 1, 28, batch_norm=True))
    norms = [i for i, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert [layers[i].num_features for i in norms] == hidden
    assert all(isinstance(layers[i + 1], nn.ReLU) for i in norms)
    assert num_parameters(built(name, 1, 28, batch_norm=True)) == PUBLISHED[name] + 2 * sum(hidden)


@pytest.mark.parametrize(
    ("image_size", "sides"), [(28, [6, 19, 27, 28]), (32, [4, 15, 23, 31, 32]), (33, [5, 17, 25, 33, 33])]
)
def test_deconv_layers_grow_the_grid_as_in_the_reference_study(image_size: int, sides: list[int]) -> None:
    decoder = built("deconv", 3, image_size, classes=5)
    seen, values = [], torch.empty(1, 80, device="meta")
    for layer in decoder:
        values = layer(values)
        if isinstance(layer, nn.Unflatten | nn.ConvTranspose2d):
            seen.append(values.shape[-1])
    assert seen == sides


@pytest.mark.parametrize(
    ("image_size", "geometry"), [(13, (3, 0, 1)), (14, (3, 0, 2)), (28, (6, 1, 2)), (32, (4, 2, 2)), (64, (4, 6, 2))]
)
def test_deconv_geometry_gives_the_numbers_worked_by_hand(image_size: int, geometry: tuple[int, int, int]) -> None:
    assert deconv_geometry(image_size) == DeConvGeometry(*geometry)


@pytest.mark.parametrize("image_size", [1, 11, 12])
def test_an_image_too_small_for_the_deconv_decoder_is_refused(image_size: int) -> None:
    with pytest.raises(ValueError, match=f"image_size: got {image_size}, expected at least 13"):
        deconv_geometry(image_size)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1, 2, 8, 14, 26])
def test_doubling_is_bilinear_interpolation_with_its_gradient(size: int) -> None:
    images = random(2, 3, size, size).requires_grad_()
    grad = random(2, 3, 2 * size, 2 * size, seed=1)
    expected = functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    got = Doubling(size)(images)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        torch.autograd.grad(got, images, grad)[0], torch.autograd.grad(expected, images, grad)[0], rtol=0, atol=2e-6
    )


def test_the_upsampling_decoder_has_the_layers_of_the_authors_code() -> None:
    decoder = DECODERS["upsampling"](5, 16, 2, 48, hidden=(), base=64, batch_norm=False)
    convolved = [layer for layer in decoder if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolved] == [
        (1, 64),
        (64, 128),
        (128, 128),
        (128, 2),
    ]
    sizes = []
    image = torch.zeros(1, 80)
    for layer in decoder:
        image = layer(image)
        sizes.append(image.shape[-1])
    assert sizes == [64, 8, 16, 14, 14, 28, 26, 26, 52, 50, 50, 48, 48, 48]
    assert [name for name, _ in decoder.named_buffers()] == ["2.matrix", "5.matrix", "8.matrix"]
    assert not [name for name in decoder.state_dict() if "matrix" in name]
