"""The network: layout of the primary capsules, published sizes, outputs, edge cases.

Axes: B batch, C channels, H W height and width, I primary capsules, J classes, D pose size of a class capsule.
"""

from dataclasses import replace

import pytest
import torch
from seeded import network, pictures
from torch import Tensor, nn

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.layers import PrimaryCapsules
from capsnet.networks.squash import squash

pytestmark = pytest.mark.usefixtures("one_thread")
WITH_DECODER = [name for name, build in DECODERS.items() if build is not None]


@pytest.fixture(scope="module")
def paper() -> ModelConfig:
    return ModelConfig(
        image_size=28,
        channels=1,
        classes=10,
        standardise=False,
        padding="valid",
        conv_channels=256,
        conv_kernel=9,
        primary_types=32,
        primary_dim=8,
        primary_kernel=9,
        primary_stride=2,
        primary_scale=1.0,
        class_dim=16,
        routing_iterations=3,
        routing_bias=False,
        leaky_routing=False,
        decoder="none",
        decoder_hidden=(512, 1024),
        decoder_channels=32,
        batch_norm=False,
        initialisation="torch",
    )


def coupling_of(model: CapsNet, images: Tensor) -> Tensor:
    coupling = model(images, with_coupling=True).coupling
    assert coupling is not None
    return coupling


def test_primary_capsule_is_type_then_row_then_column_and_its_pose_the_channels_of_that_type() -> None:
    types, dim, side = 3, 2, 4
    layer = PrimaryCapsules(types * dim, types, dim, kernel=1, stride=1, batch_norm=False).double()
    with torch.no_grad():
        layer.conv.weight.copy_(torch.eye(types * dim, dtype=torch.float64)[:, :, None, None])
        layer.conv.bias.zero_()
    features = torch.randn(2, types * dim, side, side, dtype=torch.float64)
    capsules = layer(features)
    assert capsules.shape == (2, types * side**2, dim)
    for kind in range(types):
        for y in range(side):
            for x in range(side):
                pose = features[:, kind * dim : (kind + 1) * dim, y, x]
                torch.testing.assert_close(capsules[:, (kind * side + y) * side + x], squash(pose))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 6_804_224),
        ({"routing_bias": True}, 6_804_224 + 160),
        ({"decoder": "fc"}, 8_215_568),
        ({"decoder": "fc", "routing_bias": True}, 8_215_568 + 160),
        ({"decoder": "deconv"}, 6_804_224 + 250_121),
        ({"batch_norm": True}, 6_804_224 + 4 * 256),
    ],
)
def test_parameter_counts_are_the_published_ones(paper: ModelConfig, changes: dict[str, object], expected: int) -> None:
    with torch.device("meta"):
        model = CapsNet(replace(paper, **changes))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(("image_size", "grid", "number"), [(28, 6, 1152), (32, 8, 2048), (20, 2, 128)])
def test_number_of_primary_capsules_is_that_of_the_paper(
    paper: ModelConfig, image_size: int, grid: int, number: int
) -> None:
    config = replace(paper, image_size=image_size)
    assert (config.primary_grid, config.num_primary) == (grid, number)


@pytest.mark.parametrize("image_size", [20, 21, 28, 33, 64])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_output_has_the_announced_shapes(
    tiny_model: ModelConfig, image_size: int, decoder: str, batch_norm: bool
) -> None:
    channels = 1 + image_size % 4
    config = replace(
        tiny_model, image_size=image_size, channels=channels, decoder=decoder, batch_norm=batch_norm, classes=2
    )
    with torch.device("meta"):
        images, labels = torch.empty(2, channels, image_size, image_size), torch.zeros(2, dtype=torch.int64)
        output = CapsNet(config)(images, labels, with_coupling=True)
    assert output.coupling is not None
    assert output.capsules.shape == (2, 2, 4)
    assert output.lengths.shape == (2, 2)
    assert output.coupling.shape == (2, config.num_primary, 2)
    if decoder == "none":
        assert output.reconstruction is None
    else:
        assert output.reconstruction.shape == (2, channels, image_size, image_size)


def test_encoder_is_convolution_batch_norm_relu_primary_capsules(tiny_model: ModelConfig) -> None:
    model = network(replace(tiny_model, batch_norm=True))
    images = pictures(tiny_model, 3)
    conv, norm, primary = model.encoder
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(primary.norm, nn.BatchNorm2d)
    norm.running_mean.fill_(0.1)
    features = norm(conv(images)).clamp(min=0)
    torch.testing.assert_close(model.encoder(images), primary(features))
    assert features.eq(0).any()


def test_lengths_are_those_of_the_capsules(tiny_model: ModelConfig) -> None:
    output = network(tiny_model)(pictures(tiny_model, 4))
    torch.testing.assert_close(output.lengths, output.capsules.square().sum(2).sqrt())
    assert output.lengths.max() < 1


@pytest.mark.parametrize("changes", [{"leaky_routing": True}, {"routing_bias": True}, {"routing_iterations": 5}])
def test_every_routing_option_reaches_the_routing(tiny_model: ModelConfig, changes: dict[str, object]) -> None:
    images = pictures(tiny_model, 2)
    usual = network(tiny_model)
    other = network(replace(tiny_model, **changes))
    other.load_state_dict(usual.state_dict(), strict=False)
    assert not torch.allclose(coupling_of(usual, images), coupling_of(other, images), rtol=1e-6)


def test_leaky_network_lets_capsules_abstain(tiny_model: ModelConfig) -> None:
    images = pictures(tiny_model, 2)
    assert coupling_of(network(replace(tiny_model, leaky_routing=True)), images).sum(2).max() < 0.9
    shares = coupling_of(network(tiny_model), images).sum(2)
    torch.testing.assert_close(shares, torch.ones_like(shares))


def test_coupling_is_returned_only_if_asked_for(tiny_model: ModelConfig) -> None:
    assert network(tiny_model)(pictures(tiny_model, 2)).coupling is None


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_under_autocast_convolutions_are_in_half_precision_and_capsules_are_not(
    tiny_model: ModelConfig, batch_norm: bool
) -> None:
    model = network(replace(tiny_model, batch_norm=batch_norm)).float()
    images = pictures(tiny_model, 3).float()
    usual = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.encoder[0](images)
        poses = model.encoder(images)
        output = model(images)
    assert features.dtype == torch.bfloat16
    assert poses.dtype == output.capsules.dtype == output.lengths.dtype == output.reconstruction.dtype == torch.float32
    assert not torch.equal(output.capsules, usual.capsules)
    assert (output.capsules - usual.capsules).norm() < 0.02 * usual.capsules.norm()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_prediction_of_an_image_does_not_depend_on_batch_mates(
    tiny_model: ModelConfig, decoder: str, batch_norm: bool
) -> None:
    config = replace(tiny_model, decoder=decoder, batch_norm=batch_norm)
    model, images = network(config), pictures(config, 20)
    together = model(images)
    for chosen in (0, 19):
        for alone, among in zip(model(images[chosen : chosen + 1]), together, strict=True):
            if among is not None:
                torch.testing.assert_close(alone, among[chosen : chosen + 1])


@pytest.mark.parametrize("decoder", WITH_DECODER)
def test_black_image_gives_finite_values_and_gradients(tiny_model: ModelConfig, decoder: str) -> None:
    model = network(replace(tiny_model, decoder=decoder)).float()
    with torch.no_grad():
        for layer in (model.encoder[0], model.encoder[2].conv):
            layer.bias.zero_()
    output = model(torch.zeros(1, 1, 20, 20), torch.tensor([1]))
    (output.lengths.sum() + output.reconstruction.sum()).backward()
    assert output.capsules.eq(0).all()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_forward_leaves_no_tensor_on_the_modules(tiny_model: ModelConfig) -> None:
    model = network(tiny_model)
    before = [set(vars(module)) for module in model.modules()]
    model(pictures(tiny_model, 2))
    assert [set(vars(module)) for module in model.modules()] == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 1}, "classes: got 1, expected 2 to 1000"),
        ({"classes": 1001}, "classes: got 1001, expected 2 to 1000"),
        ({"image_size": 19}, "image_size: got 19, expected 20 to 64"),
        ({"image_size": 65}, "image_size: got 65, expected 20 to 64"),
        ({"channels": 0}, "channels: got 0, expected 1 to 4"),
        ({"channels": 5}, "channels: got 5, expected 1 to 4"),
        ({"decoder": "conv"}, "decoder: got 'conv', expected one of none, fc, deconv"),
        ({"routing_iterations": 0}, "routing_iterations: got 0, expected 1 to 100"),
        ({"routing_iterations": 101}, "routing_iterations: got 101, expected 1 to 100"),
        ({"primary_scale": 0.0}, "primary_scale: got 0.0, expected greater than 0"),
        ({"conv_kernel": 13}, "image_size: got 20, too small for conv_kernel 13 followed by primary_kernel 9"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_by_name(
    tiny_model: ModelConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(tiny_model, **changes)


@pytest.mark.parametrize("shape", [(2, 1, 21, 20), (2, 1, 28, 28), (2, 3, 20, 20)])
def test_images_of_another_shape_are_refused_with_both_shapes(tiny_model: ModelConfig, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images: got .*, expected \(1, 20, 20\)"):
        CapsNet(tiny_model)(torch.zeros(shape))
