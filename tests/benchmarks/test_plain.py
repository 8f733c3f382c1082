"""The comparison is one of equals: with the same weights the plain networks are the library's network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.losses import margin_loss, reconstruction_loss
from tests.benchmarks.plain import LAYERS, PlainNetwork

pytestmark = pytest.mark.usefixtures("one_thread")

ALPHA = 0.0005


def as_plain(layer: str, weight: Tensor) -> Tensor:
    """Bring our weights (I, J, K, D) into the layout of a plain formulation."""
    if layer == "broadcast":
        return weight.transpose(2, 3).unsqueeze(0)
    return weight.transpose(1, 2).flatten(2)


def plain_names(model: CapsNet) -> dict[str, Tensor]:
    """Our parameters under the names of the plain networks."""
    renamed = (("encoder.0.", "conv."), ("encoder.2.conv.", "primary."))
    tensors = dict(model.named_parameters())
    for ours, plain in renamed:
        tensors = {name.replace(ours, plain): tensor for name, tensor in tensors.items()}
    return tensors


@pytest.fixture(params=["valid", "same"])
def ours(tiny_model: ModelConfig, request: pytest.FixtureRequest) -> CapsNet:
    torch.manual_seed(0)
    config = replace(tiny_model, channels=2, routing_iterations=3, padding=request.param)
    model = CapsNet(config)
    with torch.no_grad():  # capsules of a length at which routing has something to decide
        model.encoder[2].conv.weight.mul_(5)
        model.class_capsules.weight.mul_(8)
    return model


@pytest.mark.parametrize("layer", LAYERS)
def test_a_plain_network_gives_our_capsules_loss_and_gradients(ours: CapsNet, layer: str) -> None:
    images, labels = torch.rand(5, 2, 20, 20), torch.arange(5) % 3
    plain = PlainNetwork(layer, ours.config)
    weights = {name: tensor.detach().clone() for name, tensor in plain_names(ours).items()}
    weights["class_capsules.weight"] = as_plain(layer, weights["class_capsules.weight"])
    plain.load_state_dict(weights)

    output = ours(images, labels)
    loss = (margin_loss(output.lengths, labels) + ALPHA * reconstruction_loss(images, output.reconstruction)).mean()
    loss.backward()
    capsules = plain.class_capsules(plain.encode(images))
    plain_loss = plain(images, labels, ALPHA)
    plain_loss.backward()

    assert output.lengths.max() > 0.3
    assert_close(capsules, output.capsules, rtol=1e-4, atol=1e-6)
    assert_close(plain_loss, loss, rtol=1e-4, atol=1e-6)
    gradients = {name: tensor.grad for name, tensor in plain_names(ours).items()}
    gradients["class_capsules.weight"] = as_plain(layer, gradients["class_capsules.weight"])
    for name, parameter in plain.named_parameters():
        expected = gradients[name]
        assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item(), msg=name)
