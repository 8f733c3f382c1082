"""Which capsule the decoder sees."""

from dataclasses import replace

import pytest
import torch
from seeded import network, pictures
from torch import Tensor

from capsnet.networks.capsnet import CapsNet, ModelConfig, mask
from capsnet.networks.decoders import DECODERS

pytestmark = pytest.mark.usefixtures("one_thread")
WITH_DECODER = [name for name, build in DECODERS.items() if build is not None]


def what_the_decoder_sees(model: CapsNet, images: Tensor, labels: Tensor | None) -> Tensor:
    seen: list[Tensor] = []
    handle = model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(images, labels)
    handle.remove()
    return seen[0]


def not_the_longest(lengths: Tensor) -> Tensor:
    """Choose for each image a class that is not the longest capsule."""
    return (lengths.argmax(1) + 1) % lengths.shape[1]


@pytest.mark.parametrize("decoder", WITH_DECODER)
def test_decoder_sees_only_the_capsule_of_the_label(tiny_model: ModelConfig, decoder: str) -> None:
    model, images = network(replace(tiny_model, decoder=decoder)), pictures(tiny_model, 6)
    output = model(images)
    labels = not_the_longest(output.lengths)
    seen = what_the_decoder_sees(model, images, labels).unflatten(1, (3, 4))
    expected = torch.zeros_like(output.capsules)
    for image, label in enumerate(labels.tolist()):
        expected[image, label] = output.capsules[image, label]
    torch.testing.assert_close(seen, expected, rtol=0, atol=0)
    assert expected.ne(0).any(2).sum(1).eq(1).all()


@pytest.mark.parametrize("decoder", WITH_DECODER)
def test_decoder_sees_the_longest_capsule_without_labels(tiny_model: ModelConfig, decoder: str) -> None:
    model, images = network(replace(tiny_model, decoder=decoder)), pictures(tiny_model, 6)
    lengths = model(images).lengths
    with_prediction = what_the_decoder_sees(model, images, lengths.argmax(1))
    assert torch.equal(what_the_decoder_sees(model, images, None), with_prediction)
    assert not torch.equal(what_the_decoder_sees(model, images, not_the_longest(lengths)), with_prediction)


def test_mask_of_training_is_the_label_even_in_evaluation_mode_and_the_other_way_round(tiny_model: ModelConfig) -> None:
    model, images = network(tiny_model), pictures(tiny_model, 4)
    labels = not_the_longest(model(images).lengths)
    for training in (True, False):
        model.train(training)
        seen = what_the_decoder_sees(model, images, labels).unflatten(1, (3, 4))
        assert torch.equal(seen.ne(0).any(2).int().argmax(1), labels)


def test_reconstruction_error_teaches_the_chosen_capsule_and_no_other() -> None:
    capsules = torch.ones(2, 3, 4, requires_grad=True)
    mask(capsules, torch.tensor([2, 0])).sum().backward()
    assert capsules.grad is not None
    assert capsules.grad[:, :, 0].tolist() == [[0, 0, 1], [1, 0, 0]]
