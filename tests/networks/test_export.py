"""A network in an ONNX file gives what the network gives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from capsnet.networks import export
from capsnet.networks.attention import NORMS
from capsnet.networks.capsnet import AttentionConfig, CapsNet, ModelConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.layers import PADDINGS, PrimaryCapsules

SETTINGS: list[dict[str, Any]] = [{"decoder": decoder, "batch_norm": decoder != "none"} for decoder in DECODERS] + [
    {"padding": padding, "standardise": True, "leaky_routing": True, "channels": 3} for padding in PADDINGS
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_operations_of_an_export_are_those_of_the_network(tiny_model: ModelConfig, settings: dict) -> None:
    model = CapsNet(replace(tiny_model, primary_scale=0.5, routing_bias=True, **settings)).eval()
    images = torch.rand(3, model.config.channels, 20, 20)
    with torch.no_grad():
        output, plain = model(images), export.Exported(model)(images)
    torch.testing.assert_close(plain[0], output.lengths)
    assert len(plain) == 1 + (model.decoder is not None)
    if model.decoder is not None:
        torch.testing.assert_close(plain[1], output.reconstruction)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_onnxruntime_gives_what_the_network_gives_for_any_number_of_images(
    tmp_path: Path, tiny_model: ModelConfig, settings: dict
) -> None:
    from onnxruntime import InferenceSession

    model = CapsNet(replace(tiny_model, primary_scale=0.5, routing_bias=True, **settings)).eval()
    path = tmp_path / "network.onnx"
    assert export.export_onnx(model, path) < export.TOLERANCE
    images = np.random.default_rng(0).random((7, model.config.channels, 20, 20), np.float32)
    got = InferenceSession(path).run(None, {export.IMAGES: images})
    with torch.no_grad():
        output = model(torch.from_numpy(images))
    np.testing.assert_allclose(got[0], output.lengths, atol=export.TOLERANCE)
    if output.reconstruction is not None:
        np.testing.assert_allclose(got[1], output.reconstruction, atol=export.TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("decoder", ["none", "upsampling"])
def test_onnxruntime_gives_what_the_other_network_gives(
    tmp_path: Path, tiny_attention: AttentionConfig, norm: str, decoder: str
) -> None:
    config = replace(tiny_attention, encoder_norm=norm, decoder=decoder, standardise=norm == "instance")
    assert export.export_onnx(CapsNet(config).eval(), tmp_path / "network.onnx") < export.TOLERANCE


@pytest.mark.slow
def test_an_export_that_differs_is_refused_and_leaves_no_file(
    tmp_path: Path, tiny_model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = PrimaryCapsules.forward

    def differing(self: PrimaryCapsules, features: Tensor) -> Tensor:
        return forward(self, features) if self.fast else 10 * forward(self, features)

    monkeypatch.setattr(PrimaryCapsules, "forward", differing)
    with pytest.raises(ValueError, match=r"differs from the network by .*, expected at most 0\.0001"):
        export.export_onnx(CapsNet(tiny_model).eval(), tmp_path / "network.onnx")
    assert not [*tmp_path.iterdir()]
