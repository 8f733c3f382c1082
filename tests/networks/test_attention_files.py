"""Model files of the network with self-attention routing, and what scores, exports and explains it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from seeded import network, pictures
from trainings import Data

from capsnet.evaluation.recognition import evaluate
from capsnet.evaluation.separation import evaluate_pairs, fixed_pairs
from capsnet.explain.coupling import place
from capsnet.explain.primary import PrimaryTraining, train_decoder
from capsnet.networks.attention import AttentionCapsules
from capsnet.networks.capsnet import NETWORKS, AttentionConfig, CapsNet, ModelConfig, NetworkConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.export import Exported
from capsnet.networks.saved import load, save_model
from capsnet.tensors import HEADER, read_tensors, write_tensors
from capsnet.training.seeds import initialise

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_network_is_scored_exported_and_looked_into(either: NetworkConfig, tiny_data: Data) -> None:
    images, labels = tiny_data
    model = initialise(either, 0).eval()
    assert evaluate(model, images, labels).lengths.shape == (32, 3)
    wider = initialise(replace(either, image_size=24), 0).eval()
    pairs = fixed_pairs(wider, images, labels, seed=0, per_image=1)
    assert len(evaluate_pairs(wider, images, labels, pairs).lengths) == 32
    with torch.no_grad():
        pixels = images / 255
        output, (lengths, reconstruction) = model(pixels, with_coupling=True), Exported(model)(pixels)
    torch.testing.assert_close(lengths, output.lengths)
    torch.testing.assert_close(reconstruction, output.reconstruction)
    assert output.coupling.shape == (32, either.num_primary, 3)
    assert output.coupling.sum(2).max() <= 1 + 1e-6
    training = PrimaryTraining(hidden=(8,), epochs=1, batch_size=8, lr=0.01, subsets=True)
    decoder, _ = train_decoder(model, training, images, labels, 0)
    assert (decoder.shape.capsules, decoder.shape.dim) == (either.num_primary, either.layout.dim)


def test_primary_capsules_of_the_attention_network_see_the_whole_image(tiny_attention: AttentionConfig) -> None:
    field = tiny_attention.layout.field
    assert (field.start, field.size, field.centre(0)) == (0, 20, 9.5)
    assert [place(tiny_attention, capsule) for capsule in (0, 3)] == [(0, 0, 0), (3, 0, 0)]
    assert isinstance(CapsNet(tiny_attention).class_capsules, AttentionCapsules)
