"""Ensembles of networks: hand-worked votes, laws.

Axes: N images, J classes.
"""

import itertools

import pytest
import torch
from torch import Tensor

from capsnet.evaluation.recognition import ensemble_accuracy, evaluate
from capsnet.networks.capsnet import CapsNet, ModelConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(networks: int, images: int = 200, classes: int = 10) -> tuple[list[Tensor], Tensor]:
    """Lengths that favour the true class a little."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, classes, (images,), generator=generator)
    lengths = torch.rand(networks, images, classes, generator=generator) * 0.8
    lengths[:, torch.arange(images), labels] += 0.15
    return list(lengths), labels


def test_a_sure_network_outvotes_two_unsure_ones() -> None:
    """Summed over one sure and two unsure ones: 1.3 to 1.4, 1.5 to 1.3, 0.6 to 0.9."""
    sure = torch.tensor([[0.1, 0.8], [0.9, 0.1], [0.2, 0.3]])
    unsure = torch.tensor([[0.6, 0.3], [0.3, 0.6], [0.2, 0.3]])
    labels = torch.tensor([1, 0, 0])
    assert ensemble_accuracy([sure], labels) == pytest.approx(200 / 3)
    assert ensemble_accuracy([unsure], labels) == 0
    assert ensemble_accuracy([sure, unsure, unsure], labels) == pytest.approx(100 * 2 / 3)
    assert ensemble_accuracy([sure, unsure, unsure, unsure], labels) == 0


def test_an_ensemble_of_one_is_the_network(tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]) -> None:
    images, labels = tiny_data
    model = CapsNet(tiny_model)
    predicted = evaluate(model, images, labels).lengths.argmax(1)
    half_right = torch.where(torch.arange(32) < 16, predicted, (predicted + 1) % 3)
    scores = evaluate(model, images, half_right, batch_size=7)
    assert ensemble_accuracy([scores.lengths], half_right) == scores.accuracy == 50


def test_the_order_of_the_networks_and_their_repetition_do_not_matter() -> None:
    lengths, labels = drawn(networks=4)
    accuracy = ensemble_accuracy(lengths, labels)
    for order in itertools.permutations(lengths):
        assert ensemble_accuracy(list(order), labels) == accuracy
    assert ensemble_accuracy(lengths * 2, labels) == accuracy


def test_networks_that_err_independently_are_better_together() -> None:
    lengths, labels = drawn(networks=7)
    assert ensemble_accuracy(lengths, labels) > max(ensemble_accuracy([each], labels) for each in lengths)
