"""Pairs of images that overlap, and what they are made of.

Axes: N images or pairs, P the two images of a pair, C channels, H side of an image, S side of the field, J classes.
"""

import pytest
import torch
from overlapping import SHIFT
from seeded import generator
from trainings import Data

from capsnet.data.pairs import draw_pairs, draw_partners, overlay, place_in_field, put_together
from capsnet.networks.capsnet import ModelConfig
from capsnet.training.loop import train
from capsnet.training.training_config import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1], [2, 0, 1, 1, 2, 2, 0, 1, 0], [5, 5, 7, 5, 7]])
def test_a_partner_is_of_another_class_and_all_of_those_are_equally_likely(labels: list[int]) -> None:
    """Two classes, a class with one image, classes without any."""
    truth = torch.tensor(labels)
    draws, drawing = 600, generator()
    partners = torch.stack([draw_partners(truth, drawing) for _ in range(draws)])
    assert (truth[partners] != truth).all()
    for image, own in enumerate(labels):
        counts = torch.bincount(partners[:, image], minlength=len(labels))
        others = truth != own
        expected = draws / others.sum()
        assert (counts[~others] == 0).all()
        assert (((counts[others] - expected) ** 2 / expected).sum() < 25).item()  # chi squared of at most 5 others


def test_pairs_never_have_the_same_class_twice_and_every_image_comes_first_equally_often() -> None:
    labels = torch.arange(40) % 3
    pairs = draw_pairs(labels, 5, SHIFT, generator())
    assert pairs.places.shape == (200, 2)
    assert pairs.shifts.shape == (2, 200, 2)
    assert (labels[pairs.places[:, 0]] != labels[pairs.places[:, 1]]).all()
    assert torch.bincount(pairs.places[:, 0]).tolist() == [5] * 40
    assert pairs.places[:40, 0].tolist() == list(range(40))
    assert set(pairs.shifts.flatten().tolist()) == set(range(-SHIFT, SHIFT + 1))


def test_a_seed_gives_the_same_pairs_each_time_and_another_one_others() -> None:
    labels = torch.arange(40) % 3
    one, same, other = (draw_pairs(labels, 2, SHIFT, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.places, same.places)
    assert torch.equal(one.shifts, same.shifts)
    assert not torch.equal(one.places, other.places)
    assert not torch.equal(one.shifts, other.shifts)


def test_images_of_one_class_make_no_pairs(field: ModelConfig, separating: TrainingConfig, tiny_data: Data) -> None:
    images, labels = tiny_data
    alike = torch.ones_like(labels)
    with pytest.raises(ValueError, match="images: got 32 of one class, expected at least two classes to make pairs of"):
        draw_pairs(alike, 1, SHIFT, generator())
    with pytest.raises(ValueError, match="training images: got 32 of one class"):
        train(field, separating, images, alike, 0)


@pytest.mark.parametrize("shift", [(0, 0), (SHIFT, -SHIFT), (-SHIFT, -SHIFT), (SHIFT, SHIFT), (1, 0)])
def test_the_whole_image_lies_in_the_field_wherever_it_is_shifted(shift: tuple[int, int]) -> None:
    image = torch.randint(1, 256, (1, 2, 5, 5), dtype=torch.uint8, generator=generator())
    placed = place_in_field(image, torch.tensor(shift)[:, None], SHIFT)
    down, right = (SHIFT + amount for amount in shift)
    assert placed.shape == (1, 2, 9, 9)
    assert torch.equal(placed[:, :, down : down + 5, right : right + 5], image)
    assert (placed > 0).sum() == (image > 0).sum()


def test_a_pair_is_the_sum_of_its_images_cut_off_at_white_as_a_loop_makes_it() -> None:
    images = torch.randint(0, 256, (6, 1, 5, 5), dtype=torch.uint8, generator=generator())
    pairs = draw_pairs(torch.arange(6), 3, SHIFT, generator(1))
    digits = put_together(images, pairs, 5 + 2 * SHIFT)
    together = overlay(digits)
    for pair, (places, shifts) in enumerate(
        zip(pairs.places.tolist(), pairs.shifts.movedim(0, 2).tolist(), strict=True)
    ):
        field = torch.zeros(2, 1, 9, 9)
        for which, (image, (down, right)) in enumerate(zip(places, shifts, strict=True)):
            for row in range(5):
                for column in range(5):
                    level = images[image, 0, row, column].item()
                    field[which, 0, SHIFT + down + row, SHIFT + right + column] = level
        torch.testing.assert_close(digits[pair], field / 255)
        torch.testing.assert_close(together[pair], (field[0] + field[1]).clamp(max=255) / 255)


def test_boxes_of_20_pixels_shifted_by_up_to_4_share_73_percent_of_their_area_on_average() -> None:
    """The mean of (1 - |d| / 20)^2 over the differences d of two shifts: (1 - 80 / 27 / 20)^2."""
    labels = torch.arange(4000) % 2
    _, shifts = draw_pairs(labels, 5, 4, generator())
    apart = (shifts[..., 0] - shifts[..., 1]).abs()
    share = ((20 - apart[0]) * (20 - apart[1]) / 400).mean().item()
    assert share == pytest.approx((1 - 80 / 27 / 20) ** 2, abs=0.005)
