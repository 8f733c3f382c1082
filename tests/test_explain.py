"""Capsules moved, decoded and mapped.

Axes: B batch, J classes, D pose size.
"""

from dataclasses import replace

import pytest
import torch

from capsnet.explain.capsules import move, reconstruct
from capsnet.explain.coupling import coupling_maps
from capsnet.model import CapsNet, ModelConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def test_moving_changes_the_chosen_capsule_and_no_other() -> None:
    capsules = torch.randn(2, 3, 4)
    offsets = torch.randn(2, 4)
    moved = move(capsules, torch.tensor([2, 0]), offsets)
    assert torch.equal(moved[0, 2], capsules[0, 2] + offsets[0])
    assert torch.equal(moved[1, 0], capsules[1, 0] + offsets[1])
    assert torch.equal(moved[0, :2], capsules[0, :2])
    assert torch.equal(moved[1, 1:], capsules[1, 1:])


def test_the_longest_capsule_decoded_is_the_reconstruction_of_the_network(tiny_model: ModelConfig) -> None:
    model = CapsNet(tiny_model).eval()
    images = torch.rand(4, tiny_model.channels, tiny_model.image_size, tiny_model.image_size)
    output = model(images)
    assert output.reconstruction is not None
    assert torch.equal(reconstruct(model, output.capsules, output.lengths.argmax(1)), output.reconstruction)


def test_a_coupling_map_has_type_row_and_column_where_the_primary_capsules_have_them() -> None:
    coupling = torch.zeros(1, 2 * 3 * 3, 5)
    coupling[0, 1 * 9 + 2 * 3 + 0, 4] = 0.7
    maps = coupling_maps(coupling, torch.tensor([4]), types=2)
    assert maps.shape == (1, 2, 3, 3)
    assert maps[0, 1, 2, 0] == pytest.approx(0.7)
    assert maps.sum() == pytest.approx(0.7)


def test_a_coupling_that_is_no_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="types: got 3"):
        coupling_maps(torch.zeros(1, 10, 2), torch.tensor([0]), types=3)


def test_a_network_without_a_decoder_cannot_reconstruct(tiny_model: ModelConfig) -> None:
    model = CapsNet(replace(tiny_model, decoder="none")).eval()
    with pytest.raises(ValueError, match="without a decoder"):
        reconstruct(model, torch.zeros(1, tiny_model.classes, tiny_model.class_dim), torch.tensor([0]))
