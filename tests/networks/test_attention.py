"""The network with self-attention routing: published sizes, layers, initial weights, edge cases, training."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from protocols import PARAMS
from seeded import network, pictures, random
from tiny_project import SHAPES
from torch import nn
from torch.nn import functional
from trainings import Data

from capsnet.networks.attention import NORMS, DepthwiseCapsules
from capsnet.networks.capsnet import NETWORKS, AttentionConfig, CapsNet, ModelConfig, NetworkConfig
from capsnet.networks.routing import self_attention_routing
from capsnet.networks.squash import exponential_squash
from capsnet.training.loop import train
from capsnet.training.step import PRECISIONS
from capsnet.training.training_config import TrainingConfig
from pipeline.settings.params import override

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("name", "size", "parameters"), [("mnist-attention", 9, 161_824), ("smallnorb-attention", 8, 151_664)]
)
def test_networks_have_the_published_sizes(name: str, size: int, parameters: int) -> None:
    run = PARAMS.runs[name]
    whole = run.model_copy(update={"crop": 0})  # a crop makes the depthwise kernels smaller
    config = whole.model(*SHAPES[run.dataset])
    assert isinstance(config, AttentionConfig)
    assert (config.feature_size, config.num_primary, config.layout.dim, config.class_dim) == (size, 16, 8, 16)
    with torch.device("meta"):
        model = CapsNet(replace(config, decoder="none"))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_network_is_convolutions_rectified_then_normalised_a_kernel_for_each_channel_and_routing(
    tiny_attention: AttentionConfig,
) -> None:
    model, images = network(tiny_attention), pictures(tiny_attention, 3)
    features = images
    for block, stride in enumerate(tiny_attention.encoder_strides):
        conv, rectifier, norm = model.encoder[3 * block : 3 * block + 3]
        assert isinstance(rectifier, nn.ReLU)
        assert isinstance(norm, nn.BatchNorm2d)
        assert (norm.eps, norm.momentum) == (0.001, pytest.approx(0.01))
        features = functional.conv2d(features, conv.weight, conv.bias, stride).clamp(min=0)
        features = features / math.sqrt(1.001)  # means of 0 and variances of 1 at first
    layer = model.encoder[-1]
    assert isinstance(layer, DepthwiseCapsules)
    kernels = layer.weight[:, None]
    sums = functional.conv2d(features, kernels, layer.bias, groups=len(kernels))
    assert sums.shape == (3, 16, 1, 1)
    primary = exponential_squash(sums.view(3, 4, 4))
    torch.testing.assert_close(model.encoder(images), primary)
    upper = model.class_capsules
    expected = self_attention_routing(primary, upper.weight, upper.prior).capsules
    torch.testing.assert_close(model(images).capsules, expected)


def test_instance_normalisation_is_that_of_each_channel_of_each_image(tiny_attention: AttentionConfig) -> None:
    norm = NORMS["instance"](5)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 6.0))
        norm.bias.copy_(torch.arange(5.0))
    images = random(3, 5, 6, 6).float()
    scaled = functional.instance_norm(images, weight=norm.weight, bias=norm.bias, eps=0.001)
    torch.testing.assert_close(norm(images), scaled)
    leaky = CapsNet(replace(tiny_attention, encoder_norm="instance", encoder_leak=0.3)).encoder
    assert leaky[1].negative_slope == 0.3
    assert leaky[2].weight.abs().max() <= 0.05
    assert leaky[2].bias.abs().max() <= 0.05


@pytest.mark.parametrize("image_size", [20, 24, 28, 33, 48, 64])
@pytest.mark.parametrize("name", ["mnist-attention", "smallnorb-attention"])
def test_networks_take_images_of_every_size(name: str, image_size: int) -> None:
    channels = 1 + image_size % 4
    config = replace(PARAMS.runs[name].model(48, 2, 5), image_size=image_size, channels=channels, decoder="upsampling")
    with torch.device("meta"):
        images = torch.empty(2, channels, image_size, image_size)
        output = CapsNet(config)(images, torch.zeros(2, dtype=torch.int64), with_coupling=True)
    assert output.coupling is not None
    assert output.capsules.shape == (2, 5, 16)
    assert output.coupling.shape == (2, 16, 5)
    assert output.reconstruction.shape == images.shape


def test_initial_weights_have_the_deviations_of_keras() -> None:
    torch.manual_seed(0)
    model = CapsNet(PARAMS.runs["mnist-attention"].model(28, 1, 10))
    expected = {
        "encoder.3.weight": math.sqrt(2 / (32 * 9)),
        "encoder.9.weight": math.sqrt(2 / (64 * 9)),
        "encoder.12.weight": math.sqrt(6 / (81 + 81 * 128)) / math.sqrt(3),
        "class_capsules.weight": math.sqrt(2 / (16 * 10 * 8)),
        "decoder.0.weight": math.sqrt(2 / 160),
        "decoder.2.weight": math.sqrt(2 / 512),
        "decoder.4.weight": math.sqrt(2 / (1024 + 784)),
    }
    weights = model.state_dict()
    for name, deviation in expected.items():
        assert weights[name].std().item() == pytest.approx(deviation, rel=0.03), name
        assert weights[name].abs().max() < 2.3 * deviation, name
    assert all(weights[name].eq(0).all() for name in weights if name.endswith(("prior", "encoder.0.bias", "4.bias")))


def test_a_black_image_alone_gives_finite_values_and_gradients(tiny_attention: AttentionConfig) -> None:
    model = CapsNet(replace(tiny_attention, encoder_norm="instance")).train()
    output = model(torch.zeros(1, 1, 20, 20), torch.tensor([1]))
    (output.lengths.sum() + output.reconstruction.sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_prediction_does_not_depend_on_batch_mates(tiny_attention: AttentionConfig) -> None:
    for norm in NORMS:
        model = network(replace(tiny_attention, encoder_norm=norm))
        images = pictures(tiny_attention, 9)
        torch.testing.assert_close(model(images[4:5]).capsules, model(images).capsules[4:5])


@pytest.mark.parametrize("norm", NORMS)
def test_under_autocast_convolutions_are_in_half_precision_and_capsules_are_not(
    norm: str, tiny_attention: AttentionConfig
) -> None:
    model = network(replace(tiny_attention, encoder_norm=norm)).float().train()
    images = pictures(tiny_attention, 3).float()
    usual = model(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.encoder[0](images).dtype == torch.bfloat16
        assert model.encoder(images).dtype == torch.float32
        output = model(images)
    assert output.capsules.dtype == output.reconstruction.dtype == torch.float32
    assert not torch.equal(output.capsules, usual.capsules)
    assert (output.capsules - usual.capsules).norm() < 0.05 * usual.capsules.norm()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_norm": "layer"}, "encoder_norm: got 'layer', expected one of batch, instance"),
        ({"encoder_kernels": (5, 3)}, r"encoder_kernels: got \[5, 3\], expected one for each of 3 encoder_channels"),
        ({"encoder_strides": ()}, r"encoder_strides: got \[\], expected one for each of 3 encoder_channels"),
        ({"primary_dim": 5}, "primary_dim: got 5, expected a divisor of the 16 channels"),
        ({"encoder_strides": (3, 3, 3)}, "image_size: got 20, too small for encoder_kernels"),
        ({"image_size": 19}, "image_size: got 19, expected 20 to 64"),
        ({"decoder": "conv"}, "decoder: got 'conv', expected one of none, fc, deconv, upsampling"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_by_name(
    tiny_attention: AttentionConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(tiny_attention, **changes)


@pytest.fixture(params=NETWORKS)
def either(request: pytest.FixtureRequest, tiny_model: ModelConfig, tiny_attention: AttentionConfig) -> NetworkConfig:
    return {"dynamic": replace(tiny_model, batch_norm=True), "attention": tiny_attention}[request.param]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("task", ["classify", "separate"])
def test_training_lowers_the_loss_and_repeats_itself_with_every_augmentation(
    either: NetworkConfig, task: str, precision: str, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    border = 1 if task == "separate" else 0
    config = replace(
        tiny_training,
        task=task,
        precision=precision,
        epochs=8,
        lr=0.01,
        lr_schedule="one_cycle",
        max_shift=1,
        rotation=20.0,
        squeeze=0.2,
        scale=0.1,
        erase=3,
    )
    model = replace(either, image_size=20 + 2 * border)
    trained, again = (train(model, config, *tiny_data, seed=0) for _ in range(2))
    losses = [row["train_loss"] or 0.0 for row in trained.history]
    assert losses[-1] < 0.8 * losses[0]
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("run", "setting", "message"),
    [
        ("mnist-fc", "encoder_norm=batch", "x: encoder_norm: unknown key, a setting of network attention"),
        ("mnist-attention", "routing_iterations=3", "x: routing_iterations: unknown key, a setting of network dynamic"),
        ("mnist-attention", "encoder_nrom=batch", "x: encoder_nrom: unknown key, did you mean 'encoder_norm'"),
        ("mnist-attention", "network=em", "x: network: got 'em', expected one of dynamic, attention"),
        ("mnist-attention", "network=[1]", r"x: network: got \[1\], expected one of dynamic, attention"),
        ("mnist-attention", "batch_size=1", "x: batch_size: got 1, expected at least 2 with encoder_norm batch"),
        ("mnist-attention", "rotation=200", "x: rotation: got 200"),
        ("mnist-attention", "squeeze=1.0", "x: squeeze: got 1.0"),
        ("mnist-attention", "lr_schedule=linear", "x: lr_schedule: got 'linear', expected 'decay', 'epochs' or 'one_"),
    ],
)
def test_a_setting_that_the_network_does_not_take_is_refused_by_name(run: str, setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(PARAMS.runs[run], [setting], "x")
