"""Networks as the page takes them: which weights are rounded, by how much, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from static_site import for_digits

from capsnet.networks.capsnet import AttentionConfig, CapsNet, ModelConfig, NetworkConfig
from capsnet.networks.layers import ClassCapsules
from pipeline.apps.live_page.program import FEW, LEVELS, Weights, build_program


def build(config: NetworkConfig) -> CapsNet:
    torch.manual_seed(0)
    return CapsNet(config).eval()


def test_a_small_network_keeps_its_weights(tiny_model: ModelConfig, tiny_attention: AttentionConfig) -> None:
    for config in (for_digits(tiny_model), for_digits(tiny_attention)):
        model = build(config)
        made = build_program(model).model.state_dict()
        assert all(torch.equal(weight, made[name]) for name, weight in model.state_dict().items())


def test_a_large_weight_is_rounded_by_at_most_half_a_level_of_its_output(tiny_model: ModelConfig) -> None:
    model = build(for_digits(tiny_model, decoder_hidden=(FEW // 40 + 1, 8)))
    program = build_program(model)
    before, after = (each.decoder[0].weight for each in (model, program.model))  # type: ignore[index]
    assert before.numel() > FEW
    level = before.abs().amax(1, keepdim=True) / LEVELS
    assert (before - after).abs().max() > 0
    assert ((before - after).abs() <= level * 0.5001).all()
    assert torch.equal(model.encoder[0].weight, program.model.encoder[0].weight)


def test_the_file_holds_the_rounded_weight(tiny_model: ModelConfig) -> None:
    program = build_program(build(for_digits(tiny_model, decoder_hidden=(FEW // 40 + 1, 8))))
    weights = program.decode[0]["weights"]
    (inputs, outputs), content = weights["shape"], program.weights
    levels = np.frombuffer(content, np.int8, inputs * outputs, weights["numbers"]).reshape(inputs, outputs)
    scales = np.frombuffer(content, np.float32, outputs, weights["scales"])
    assert np.abs(levels).max() == LEVELS
    np.testing.assert_allclose(levels * scales, program.model.decoder[0].weight.detach().numpy().T, rtol=1e-6)  # type: ignore[index]


def test_an_output_without_weights_stays_zero() -> None:
    weight = torch.zeros(FEW, 2)
    weight[:, 0] = 1
    Weights().matrix(weight)
    assert weight[:, 0].eq(1).all()
    assert weight[:, 1].eq(0).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decoder": "none"}, "decoder: got none"),
        ({"padding": "same"}, "padding: got same"),
        ({"primary_scale": 0.5}, "primary capsules: got a padding or a scale"),
        ({"leaky_routing": True}, "leaky_routing: got true"),
        ({"decoder": "upsampling"}, "layers: got Doubling"),
    ],
)
def test_what_the_page_cannot_run_is_refused(tiny_model: ModelConfig, changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_program(build(replace(for_digits(tiny_model), **changed)))


def test_instance_normalisation_is_refused(tiny_attention: AttentionConfig) -> None:
    with pytest.raises(ValueError, match="layers: got GroupNorm"):
        build_program(build(for_digits(tiny_attention, encoder_norm="instance")))


def test_the_network_itself_is_not_changed(tiny_model: ModelConfig) -> None:
    model = build(for_digits(tiny_model, primary_types=20, class_dim=16))
    layer = model.class_capsules
    assert isinstance(layer, ClassCapsules)
    before = layer.weight.clone()
    assert before.numel() > FEW
    build_program(model)
    assert torch.equal(layer.weight, before)
