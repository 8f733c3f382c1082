"""Crops, flips, brightness and contrast: laws of each, their order, and what is drawn for whom.

Axes: B batch, C channels, H W height and width.
"""

from typing import Any

import pytest
import torch
from augmentations import NOTHING
from seeded import generator, noise, pixels
from torch import Tensor

from capsnet.data.augmentation import (
    BRIGHTNESS_CHANGES,
    add_brightness,
    augmentation,
    blacken,
    change_contrast,
    cut,
    draw_between,
    draw_corners,
    draw_flips,
    draw_patches,
    draw_shifts,
    flip_left_right,
    rotate_map,
    sample,
    scale_brightness,
    scale_map,
    shift,
    squeeze_map,
)

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING: dict[str, Any] = {
    "max_shift": 2,
    "flip": True,
    "rotation": 30.0,
    "rotation_share": 0.5,
    "squeeze": 0.25,
    "scale": 0.1,
    "erase": 2,
    "brightness": 63.0,
    "brightness_change": "add",
    "contrast": (0.2, 1.8),
    "clip_pixels": True,
}


def between_five_deviations(counts: Tensor, number: int) -> bool:
    """Whether counts of equally likely outcomes are within five standard deviations of what is expected."""
    expected = number / counts.numel()
    return bool((counts - expected).abs().max() < 5 * expected**0.5)


@pytest.mark.parametrize(("size", "crop", "channels"), [(48, 32, 2), (32, 24, 3), (7, 6, 1), (5, 5, 1)])
def test_a_crop_is_a_window_inside_the_image_the_same_for_all_channels(size: int, crop: int, channels: int) -> None:
    images = noise(40, channels, size, size)
    corners = draw_corners(40, size - crop, generator())
    windows = cut(images, corners, crop)
    assert windows.shape == (40, channels, crop, crop)
    assert windows.dtype == torch.uint8
    assert corners.min() >= 0
    assert corners.max() <= size - crop
    for image, window, (top, left) in zip(images, windows, corners.T.tolist(), strict=True):
        assert torch.equal(window, image[:, top : top + crop, left : left + crop])


@pytest.mark.parametrize("slack", [1, 2, 4])
def test_every_window_is_equally_likely(slack: int) -> None:
    number, side = 6000, slack + 1
    rows, columns = draw_corners(number, slack, generator())
    counts = torch.bincount(rows * side + columns, minlength=side**2)
    assert len(counts) == side**2
    assert between_five_deviations(counts, number)


def test_a_flip_exchanges_left_and_right_and_undoes_itself() -> None:
    images = noise(6, 3, 4, 5)
    flips = torch.tensor([True, False, True, True, False, False])
    flipped = flip_left_right(images, flips)
    for image, changed, flip in zip(images, flipped, flips, strict=True):
        expected = torch.stack([image[:, :, 4 - x] for x in range(5)], 2) if flip else image
        assert torch.equal(changed, expected)
    assert torch.equal(flip_left_right(flipped, flips), images)


def test_half_of_the_images_are_flipped() -> None:
    flips = draw_flips(6000, generator())
    assert between_five_deviations(torch.bincount(flips.long(), minlength=2), 6000)


@pytest.mark.parametrize(("low", "high"), [(-0.25, 0.25), (0.2, 1.8), (1.0, 1.5)])
def test_what_is_drawn_between_two_bounds_stays_there_and_is_spread_evenly(low: float, high: float) -> None:
    drawn = draw_between(6000, low, high, generator())
    assert drawn.min() >= low
    assert drawn.max() <= high
    tenths = ((drawn - low) / (high - low) * 10).long().clamp(max=9)
    assert between_five_deviations(torch.bincount(tenths, minlength=10), 6000)


@pytest.mark.parametrize("kind", BRIGHTNESS_CHANGES)
@pytest.mark.parametrize("brightness", [32.0, 63.0, 255.0])
def test_brightness_changes_by_no_more_than_it_may_and_contrast_not_at_all(kind: str, brightness: float) -> None:
    made = augmentation(6, 6, **NOTHING | {"brightness": brightness, "brightness_change": kind})
    (change,) = made.tones
    before = pixels(50, 2, 6, 6)
    after = change.apply(before, change.draw(50, generator=generator()).double())
    largest = brightness / 255 * (before if kind == "scale" else torch.ones_like(before))
    assert ((after - before).abs() <= largest + 1e-7).all()
    assert (after > before).any()
    assert (after < before).any()


def test_brightness_is_added_or_scaled_by_each_image_s_own_change() -> None:
    image, changes = torch.tensor([0.2, 0.4]).expand(2, 1, 1, 2), torch.tensor([0.5, -0.1])
    torch.testing.assert_close(add_brightness(image, changes).flatten(1), torch.tensor([[0.7, 0.9], [0.1, 0.3]]))
    torch.testing.assert_close(scale_brightness(image, changes).flatten(1), torch.tensor([[0.3, 0.6], [0.18, 0.36]]))


def test_contrast_keeps_the_mean_of_each_channel_and_scales_its_deviation() -> None:
    before, factors = pixels(4, 3, 5, 5), torch.tensor([0.2, 1.0, 1.8, 0.0]).double()
    after = change_contrast(before, factors)
    torch.testing.assert_close(after.mean((2, 3)), before.mean((2, 3)))
    torch.testing.assert_close(after.std((2, 3)), factors[:, None] * before.std((2, 3)))
    torch.testing.assert_close(after[1], before[1])


def test_nothing_chosen_is_only_the_division_by_255() -> None:
    images = noise(3, 2, 8, 8)
    made = augmentation(8, 8, **NOTHING)
    assert made.changes == ()
    assert torch.equal(made(images, []), images / 255)


@pytest.mark.parametrize("clip_pixels", [True, False])
def test_bytes_are_moved_then_mapped_then_erased_and_toned_and_a_cut_at_0_and_1_comes_last(clip_pixels: bool) -> None:
    images = noise(20, 2, 10, 10)
    made = augmentation(10, 8, **EVERYTHING | {"clip_pixels": clip_pixels})
    drawn = [change.draw(20, generator=generator(seed)) for seed, change in enumerate(made.changes)]
    shifts, corners, flips, angles, squeezes, scales, patches, brightness, contrast = drawn
    moved = flip_left_right(cut(shift(images, shifts), corners, 8), flips) / 255
    sources = scale_map(squeeze_map(rotate_map(torch.eye(2).expand(20, 2, 2), angles), squeezes), scales)
    erased = blacken(sample(moved, sources), patches, 2)
    expected = change_contrast(add_brightness(erased, brightness), contrast)
    assert expected.min() < 0
    assert expected.max() > 1
    augmented = made(images, drawn)
    assert torch.equal(augmented, expected.clamp(0, 1) if clip_pixels else expected)
    assert augmented.shape == (20, 2, 8, 8)


@pytest.mark.parametrize(("size", "side"), [(28, 4), (20, 3), (8, 2)])
def test_a_patch_is_erased_inside_the_image(size: int, side: int) -> None:
    corners = draw_patches(4000, size, side, generator())
    assert (corners.min(), corners.max()) == (side, size - side - 2)
    images = 0.5 + 0.5 * pixels(40, 2, size, size)
    erased = blacken(images, corners[:, :40], side)
    for image, got, (top, left) in zip(images, erased, corners[:, :40].T.tolist(), strict=True):
        expected = image.clone()
        expected[:, top : top + side, left : left + side] = 0
        assert torch.equal(got, expected)


def test_what_happens_to_an_image_does_not_depend_on_batch_mates() -> None:
    images = noise(12, 3, 10, 10)
    made = augmentation(10, 7, **EVERYTHING)
    drawn = [change.draw(12, generator=generator()) for change in made.changes]
    together = made(images, drawn)
    for chosen in (0, 5, 11):
        alone = made(images[chosen : chosen + 1], [values[..., chosen : chosen + 1] for values in drawn])
        torch.testing.assert_close(alone[0], together[chosen])


def test_every_change_draws_from_a_generator_of_its_own_and_an_entry_an_image() -> None:
    changes = augmentation(10, 8, **EVERYTHING).changes
    assert len({change.use for change in changes}) == len(changes) == 9
    for change in changes:
        drawn = change.draw(7, generator=generator())
        assert drawn.shape[-1] == 7
        assert torch.equal(drawn, change.draw(7, generator=generator()))


def test_shifts_keep_the_generator_and_the_numbers_that_they_had() -> None:
    (change,) = augmentation(8, 8, **NOTHING | {"max_shift": 2}).changes
    assert change.use == "augmentation"
    assert torch.equal(change.draw(50, generator=generator()), draw_shifts(50, 2, generator()))


@pytest.mark.parametrize(
    ("crop", "changes", "uses"),
    [
        (8, {}, []),
        (6, {}, ["crop"]),
        (8, {"flip": True}, ["flip"]),
        (8, {"brightness": 1.0}, ["brightness"]),
        (8, {"contrast": (1.0, 1.1)}, ["contrast"]),
        (8, {"contrast": (0.5, 0.5)}, ["contrast"]),
        (8, {"rotation": 1.0, "rotation_share": 0.5}, ["rotation"]),
        (8, {"squeeze": 0.1}, ["squeeze"]),
        (8, {"scale": 0.1}, ["scale"]),
        (8, {"erase": 2}, ["erase"]),
    ],
)
def test_only_what_changes_an_image_is_drawn(crop: int, changes: dict[str, Any], uses: list[str]) -> None:
    assert [change.use for change in augmentation(8, crop, **NOTHING | changes).changes] == uses
