"""The network with self-attention routing: its formulas against loops and numbers by hand, its published sizes, edges.

Axes: B batch, I lower capsules, J upper capsules, K and D their pose sizes.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from protocols import PARAMS
from tiny_project import SHAPES
from torch import Tensor, nn
from torch.nn import functional

from capsnet.evaluation.recognition import evaluate
from capsnet.evaluation.separation import evaluate_pairs, fixed_pairs
from capsnet.explain.coupling import place, receptive_field
from capsnet.explain.primary import PrimaryTraining, train_decoder
from capsnet.networks.attention import NORMS, AttentionCapsules, DepthwiseCapsules
from capsnet.networks.capsnet import NETWORKS, AttentionConfig, CapsNet, ModelConfig, NetworkConfig
from capsnet.networks.decoders import DECODERS, Doubling
from capsnet.networks.export import Plain
from capsnet.networks.routing import exponential_squash, self_attention_routing
from capsnet.networks.saved import HEADER, load, read_tensors, save_model, write_tensors
from capsnet.training.loop import TrainingConfig, train
from capsnet.training.step import PRECISIONS, initialise
from pipeline.settings.params import override

pytestmark = pytest.mark.usefixtures("one_thread")

Data = tuple[Tensor, Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pictures(config: NetworkConfig, number: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(number, config.channels, config.image_size, config.image_size, generator=generator, dtype=dtype)


def network(config: NetworkConfig) -> CapsNet:
    """Build a float64 network with the same weights each time, in evaluation mode."""
    torch.manual_seed(0)
    return CapsNet(config).double().eval()


# Squash.


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


# Routing.


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


# The network.


@pytest.mark.parametrize(
    ("name", "size", "parameters"), [("mnist-attention", 9, 161_824), ("smallnorb-attention", 8, 151_664)]
)
def test_networks_have_the_published_sizes(name: str, size: int, parameters: int) -> None:
    run = PARAMS.runs[name]
    config = run.model(*SHAPES[run.dataset])
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


# Its decoder.


@pytest.mark.parametrize("size", [1, 2, 8, 14, 26])
def test_doubling_is_bilinear_interpolation_with_its_gradient(size: int) -> None:
    images = random(2, 3, size, size).float().requires_grad_()
    grad = random(2, 3, 2 * size, 2 * size, seed=1).float()
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


# What takes either network.


@pytest.fixture(params=NETWORKS)
def either(request: pytest.FixtureRequest, tiny_model: ModelConfig, tiny_attention: AttentionConfig) -> NetworkConfig:
    return {"dynamic": replace(tiny_model, batch_norm=True), "attention": tiny_attention}[request.param]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_model_file_gives_the_network_back(either: NetworkConfig, decoder: str, tmp_path: Path) -> None:
    saved = network(replace(either, decoder=decoder)).float()
    save_model(tmp_path / "model.safetensors", saved, {})
    loaded = load(tmp_path / "model.safetensors")
    assert loaded.config == saved.config
    images = pictures(either, 4, torch.float32)
    assert torch.equal(loaded(images).lengths, saved(images).lengths)


def test_a_model_file_that_names_no_network_is_one_with_dynamic_routing(
    tiny_model: ModelConfig, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    saved = network(tiny_model).float()
    save_model(path, saved, {"seed": 3})
    header, tensors = read_tensors(path, "model")
    assert header["config"].pop("network") == "dynamic"
    write_tensors(path, tensors, header)
    assert "network" not in json.loads(json.dumps(header["config"]))
    assert load(path).config == tiny_model


def test_a_model_file_of_an_unknown_network_is_refused(tiny_model: ModelConfig, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, network(tiny_model), {})
    header, tensors = read_tensors(path, "model")
    header["config"]["network"] = "em"
    write_tensors(path, tensors, header)
    with pytest.raises(ValueError, match="network: got 'em', expected one of dynamic, attention"):
        load(path)
    assert HEADER == "capsnet"


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


def test_a_network_is_scored_exported_and_looked_into(either: NetworkConfig, tiny_data: Data) -> None:
    images, labels = tiny_data
    model = initialise(either, 0).eval()
    assert evaluate(model, images, labels).lengths.shape == (32, 3)
    wider = initialise(replace(either, image_size=24), 0).eval()
    pairs = fixed_pairs(wider, images, labels, seed=0, per_image=1)
    assert len(evaluate_pairs(wider, images, labels, pairs).lengths) == 32
    with torch.no_grad():
        pixels = images / 255
        output, (lengths, reconstruction) = model(pixels, with_coupling=True), Plain(model)(pixels)
    torch.testing.assert_close(lengths, output.lengths)
    torch.testing.assert_close(reconstruction, output.reconstruction)
    assert output.coupling.shape == (32, either.num_primary, 3)
    assert output.coupling.sum(2).max() <= 1 + 1e-6
    training = PrimaryTraining(hidden=(8,), epochs=1, batch_size=8, lr=0.01, subsets=True)
    decoder, _ = train_decoder(model, training, images, labels, 0)
    assert (decoder.shape.capsules, decoder.shape.dim) == (either.num_primary, either.layout.dim)


def test_primary_capsules_of_the_attention_network_see_the_whole_image(tiny_attention: AttentionConfig) -> None:
    field = receptive_field(tiny_attention)
    assert (field.start, field.size, field.centre(0)) == (0, 20, 9.5)
    assert [place(tiny_attention, capsule) for capsule in (0, 3)] == [(0, 0, 0), (3, 0, 0)]
    assert isinstance(CapsNet(tiny_attention).class_capsules, AttentionCapsules)


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
