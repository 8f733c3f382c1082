"""The network as the authors' code has it: padding, standardised images, scaled primary capsules, initial weights.

Axes: B batch, C channels, H W height and width.
"""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from capsnet.networks.capsnet import CapsNet, ModelConfig, standardise
from capsnet.networks.decoders import DECODERS
from capsnet.networks.dynamic import INITIALISATIONS
from capsnet.networks.layers import PADDINGS, PrimaryCapsules, convolved_size, same_padding
from capsnet.networks.squash import squash

pytestmark = pytest.mark.usefixtures("one_thread")

# Of a normal distribution cut off at two standard deviations.
TRUNCATED = 0.8796


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def naive_same(image: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve (C, H, W) as TensorFlow's SAME does, looking up one pixel after the other."""
    outputs, _, kernel, _ = weight.shape
    size = image.shape[1]
    side = math.ceil(size / stride)
    before = max((side - 1) * stride + kernel - size, 0) // 2
    result = image.new_zeros(outputs, side, side)
    for y, x, dy, dx in product(range(side), range(side), range(kernel), range(kernel)):
        row, column = y * stride + dy - before, x * stride + dx - before
        if 0 <= row < size and 0 <= column < size:
            result[:, y, x] += weight[:, :, dy, dx] @ image[:, row, column]
    return result


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (24, 9, 1, (4, 4)),
        (24, 9, 2, (3, 4)),
        (5, 3, 2, (1, 1)),
        (6, 3, 2, (0, 1)),
        (4, 2, 2, (0, 0)),
        (5, 2, 2, (0, 1)),
        (7, 4, 1, (1, 2)),
        (7, 1, 3, (0, 0)),
    ],
)
def test_same_padding_is_that_of_tensorflow(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 9])
@pytest.mark.parametrize("size", [9, 10, 24])
def test_same_padding_gives_size_over_stride_rounded_up(size: int, kernel: int, stride: int) -> None:
    assert convolved_size(size, kernel, stride, "same") == math.ceil(size / stride)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (6, 4, 2), (8, 2, 3), (5, 9, 1)])
def test_padded_primary_capsules_are_those_of_a_loop_over_pixels(size: int, kernel: int, stride: int) -> None:
    layer = PrimaryCapsules(3, 2, 4, kernel, stride, batch_norm=False, padding="same").double()
    features = random(2, 3, size, size)
    bias = layer.conv.bias.detach()[:, None, None]
    for image, capsules in zip(features, layer(features), strict=True):
        channels = naive_same(image, layer.conv.weight.detach(), stride) + bias
        expected = squash(channels.unflatten(0, (2, 4)).permute(0, 2, 3, 1).flatten(0, 2))
        torch.testing.assert_close(capsules.detach(), expected)


# torch says that an even kernel costs it a copy of the image.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [4, 5])
def test_the_first_convolution_is_padded_too(kernel: int, tiny_model: ModelConfig) -> None:
    model = CapsNet(replace(tiny_model, conv_kernel=kernel, padding="same")).double()
    conv, image = model.encoder[0], random(1, 20, 20)
    expected = naive_same(image, conv.weight.detach(), 1) + conv.bias.detach()[:, None, None]
    torch.testing.assert_close(conv(image[None])[0].detach(), expected)


@pytest.mark.parametrize(
    ("padding", "image_size", "types", "grid", "number"),
    [("same", 24, 64, 12, 9216), ("same", 28, 32, 14, 6272), ("valid", 32, 32, 8, 2048), ("valid", 28, 32, 6, 1152)],
)
def test_padding_decides_the_number_of_primary_capsules(
    padding: str, image_size: int, types: int, grid: int, number: int, tiny_model: ModelConfig
) -> None:
    config = replace(tiny_model, padding=padding, image_size=image_size, primary_types=types, primary_dim=8, channels=3)
    assert (config.primary_grid, config.num_primary) == (grid, number)
    with torch.device("meta"):
        capsules = CapsNet(config).encoder(torch.empty(1, 3, image_size, image_size))
    assert capsules.shape == (1, number, 8)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_padding_trains_every_decoder(padding: str, decoder: str, tiny_model: ModelConfig) -> None:
    model = CapsNet(replace(tiny_model, padding=padding, decoder=decoder))
    output = model(torch.rand(2, 1, 20, 20), torch.tensor([0, 2]))
    (output.lengths.sum() + (0 if output.reconstruction is None else output.reconstruction.sum())).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (5, 2, 32, 32), (5, 3, 24, 24)])
def test_standardised_images_have_mean_0_and_deviation_1_over_all_channels_and_pixels(shape: tuple[int, ...]) -> None:
    images = 0.1 + 0.5 * random(*shape)
    standardised = standardise(images)
    flat = standardised.flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(5).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(flat.std(1, correction=0), torch.ones(5).double())
    torch.testing.assert_close(standardise(0.3 + 0.2 * images), standardised)


def test_the_deviation_is_at_least_a_share_of_a_grey_level() -> None:
    """As TensorFlow divides images from 0 to 255: by 1 / sqrt(pixels) where the deviation is below."""
    images = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    images[0, 0, 0, 0] = 0.5 / 255
    on_255 = 255 * images
    assert on_255.std(correction=0) < 1 / 10
    torch.testing.assert_close(standardise(images), (on_255 - on_255.mean()) * 10)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_image_becomes_zero_with_finite_gradients(value: float) -> None:
    images = torch.full((2, 3, 8, 8), value, requires_grad=True)
    standardised = standardise(images)
    standardised.square().sum().backward()
    torch.testing.assert_close(standardised, torch.zeros_like(images), rtol=0, atol=1e-2)
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_a_standardising_network_does_it_by_itself_and_reconstructs_from_0_to_1(tiny_model: ModelConfig) -> None:
    model = CapsNet(replace(tiny_model, standardise=True)).double().eval()
    images = random(3, 1, 20, 20)
    output = model(images)
    torch.testing.assert_close(output.lengths, model(0.1 + 0.5 * images).lengths)
    assert not torch.allclose(output.lengths, CapsNet(tiny_model).double()(images).lengths)
    assert output.reconstruction.min() >= 0
    assert output.reconstruction.max() <= 1


def test_the_scale_is_on_the_convolution_and_not_on_its_bias() -> None:
    layer = PrimaryCapsules(3, 2, 4, 3, 2, batch_norm=False, scale=1 / 32).double()
    features = random(2, 3, 7, 7)
    channels = nn.functional.conv2d(features, layer.conv.weight, None, 2) / 32 + layer.conv.bias[:, None, None]
    expected = squash(channels.unflatten(1, (2, 4)).permute(0, 1, 3, 4, 2).flatten(1, 3))
    torch.testing.assert_close(layer(features), expected)


def test_the_scale_is_the_coupling_of_one_routing_iteration_over_the_types() -> None:
    """The authors' code routes the convolution's channels once: 1 / types, and 1 / (types + 1) with leaky routing."""
    logits = torch.zeros(32)
    assert logits.softmax(0)[0].item() == pytest.approx(0.03125)
    leaky = torch.cat([torch.zeros(1), torch.zeros(64)]).softmax(0)[1:]
    assert leaky[0].item() == pytest.approx(0.015384615384615385)


@pytest.mark.parametrize("decoder", DECODERS)
def test_sabour_s_initial_weights_are_truncated_normals_and_all_biases_a_tenth(
    decoder: str, tiny_model: ModelConfig
) -> None:
    torch.manual_seed(0)
    config = replace(
        tiny_model,
        conv_channels=64,
        primary_types=4,
        primary_dim=8,
        routing_bias=True,
        decoder=decoder,
        decoder_hidden=(128, 128),
        decoder_channels=16,
        initialisation="sabour",
    )
    for name, parameter in CapsNet(config).named_parameters():
        if name.endswith("bias"):
            assert parameter.eq(0.1).all(), name
            continue
        deviation = 0.05 if name == "encoder.0.weight" else 0.1
        assert parameter.abs().max() <= 2 * deviation, name
        error = 5 * deviation / parameter.numel() ** 0.5
        assert parameter.mean().abs().item() < error, name
        assert parameter.std().item() == pytest.approx(TRUNCATED * deviation, abs=error), name


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_reference_study_s_initial_weights_are_small_and_no_capsule_starts_out_long(
    decoder: str, tiny_model: ModelConfig
) -> None:
    """Glorot's deviation is the square root of 2 / (inputs + outputs) of a weight, kernel included."""
    config = replace(tiny_model, conv_channels=64, routing_bias=True, decoder=decoder, initialisation="reference")
    model = CapsNet(config)
    primary = model.encoder[2].conv.weight
    assert primary.std().item() == pytest.approx(0.02 * math.sqrt(2 / (81 * (64 + 8))), rel=0.05)
    votes = model.class_capsules.weight
    lower, *each = votes.shape
    assert votes.std().item() == pytest.approx(0.002 * math.sqrt(2 / (math.prod(each) * (1 + lower))), rel=0.1)
    assert model.class_capsules.bias.abs().max() < 0.01
    for linear in (module for module in model.modules() if isinstance(module, nn.Linear)):
        fans = linear.in_features + linear.out_features
        assert linear.weight.std().item() == pytest.approx(0.02 * math.sqrt(2 / fans), rel=0.2)
    assert model(torch.rand(4, 1, 20, 20)).lengths.max() < 1e-3


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_batch_normalisation_starts_as_the_identity_whatever_the_initialisation(
    initialisation: str, tiny_model: ModelConfig
) -> None:
    model = CapsNet(replace(tiny_model, batch_norm=True, decoder="deconv", initialisation=initialisation))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) >= 4
    assert all(norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in norms)


def test_torch_s_initial_weights_are_drawn_in_the_order_of_the_layers_and_no_number_besides(
    tiny_model: ModelConfig,
) -> None:
    torch.manual_seed(0)
    model = CapsNet(replace(tiny_model, decoder="none"))
    after = torch.get_rng_state()
    torch.manual_seed(0)
    first, primary = nn.Conv2d(1, 8, 9), nn.Conv2d(8, 8, 9)
    weight = 0.1 * torch.randn(8, 3, 4, 4)
    assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(model.encoder[0].weight, first.weight)
    assert torch.equal(model.encoder[2].conv.weight, primary.weight)
    assert torch.equal(model.class_capsules.weight, weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": "SAME"}, "padding: got 'SAME', expected one of valid, same"),
        ({"initialisation": "xavier"}, "initialisation: got 'xavier', expected one of torch, reference, sabour"),
    ],
)
def test_an_unknown_choice_is_refused_by_name(
    tiny_model: ModelConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(tiny_model, **changes)
