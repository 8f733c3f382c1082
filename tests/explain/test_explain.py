"""Capsules moved, decoded, mapped and measured; images turned round.

Axes: A angles, B batch, J classes, D pose size, S steps, M measures.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from capsnet.explain.capsules import move
from capsnet.explain.coupling import coupling_maps
from capsnet.explain.perturbation import LEAST_SPREAD, changes, perturb, spread
from capsnet.explain.rotation import turn
from capsnet.explain.shape import MEASURES, measure
from capsnet.networks.capsnet import CapsNet, ModelConfig

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
    assert torch.equal(model.decode(output.capsules, output.lengths.argmax(1)), output.reconstruction)


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
        model.decode(torch.zeros(1, tiny_model.classes, tiny_model.class_dim), torch.tensor([0]))


def test_each_dimension_moved_is_that_capsule_decoded_with_one_number_changed(tiny_model: ModelConfig) -> None:
    model = CapsNet(tiny_model).eval()
    capsules, classes = torch.rand(2, tiny_model.classes, tiny_model.class_dim), torch.tensor([2, 0])
    images = perturb(model, capsules, classes, torch.tensor([-0.25, 0.0, 0.1]))
    assert images.shape[:3] == (2, tiny_model.class_dim, 3)
    for image in range(2):
        for dimension in range(tiny_model.class_dim):
            assert torch.allclose(images[image, dimension, 1], model.decode(capsules, classes)[image])
            changed = capsules.clone()
            changed[image, classes[image], dimension] += 0.1
            assert torch.allclose(images[image, dimension, 2], model.decode(changed, classes)[image])


def test_a_change_is_the_difference_of_what_is_measured_at_both_ends(tiny_model: ModelConfig) -> None:
    model = CapsNet(tiny_model).eval()
    capsules, classes = torch.rand(2, tiny_model.classes, tiny_model.class_dim), torch.tensor([1, 2])
    changed = changes(model, capsules, classes, 0.25)
    ends = perturb(model, capsules, classes, torch.tensor([-0.25, 0.25]))
    for image in range(2):
        for dimension in range(tiny_model.class_dim):
            before, after = measure(ends[image, dimension])
            assert torch.allclose(changed[image, dimension], after - before, atol=1e-5)
    assert changed.abs().amax((0, 1)).all()


def test_the_spread_of_a_class_is_that_of_its_images_moved_in_every_way_in_which_training_moves_them() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(6, 1, 20, 20)
    for image in images:
        height, width = torch.randint(4, 8, (2,), generator=generator).tolist()
        image[0, 7 : 7 + height, 8 : 8 + width] = 1
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    moved = [(image, -y, -x) for image in images for y in (-1, 0, 1) for x in (-1, 0, 1)]
    shifted = torch.stack([image.roll((y, x), (1, 2)) for image, y, x in moved])
    found = spread(images, labels, 3, [1])
    expected = spread(shifted, labels.repeat_interleave(9), 3, [])
    assert torch.allclose(found[[0, 2]], expected[[0, 2]], atol=1e-4)
    positions = [name.endswith("position") for name in MEASURES]
    assert found[1].tolist() == pytest.approx([(2 / 3) ** 0.5 if position else LEAST_SPREAD for position in positions])


def test_a_turned_image_is_what_the_network_makes_of_it_at_each_angle(
    tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = CapsNet(tiny_model).eval()
    image = tiny_data[0][4]
    turned = turn(model, image, [0, 90])
    for place, pixels in enumerate([image, image.rot90(1, (1, 2))]):
        output = model(pixels[None] / 255)
        assert torch.equal(turned.images[place], pixels / 255)
        assert torch.allclose(turned.lengths[place], output.lengths[0])
        assert turned.reconstructions is not None
        assert torch.allclose(turned.reconstructions[place], output.reconstruction[0], atol=1e-6)
        assert turned.predicted[place] == output.lengths[0].argmax()


def test_a_network_without_a_decoder_turns_images_and_has_no_dimensions_to_show(
    tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = CapsNet(replace(tiny_model, decoder="none")).eval()
    assert turn(model, tiny_data[0][0], [30]).reconstructions is None
    with pytest.raises(ValueError, match="without a decoder"):
        perturb(model, torch.zeros(1, tiny_model.classes, tiny_model.class_dim), torch.tensor([0]), torch.zeros(1))
