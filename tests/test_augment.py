"""Shifts of images by whole pixels.

Axes: B batch, C channels, H W height and width.
"""

import pytest
import torch
from torch import Generator, Tensor

from capsnet.data.augment import shift


def naive_shift(image: Tensor, down: int, right: int) -> Tensor:
    """Shift (C, H, W) one pixel at a time; what comes in is zero."""
    shifted = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                shifted[:, y + down, x + right] = image[:, y, x]
    return shifted


def noise(*shape: int) -> Tensor:
    """Make images without a zero."""
    return torch.randint(1, 256, shape, generator=Generator().manual_seed(3), dtype=torch.uint8)


@pytest.mark.parametrize(("pixels", "shape"), [(1, (60, 1, 5, 7)), (2, (400, 2, 6, 5)), (6, (5, 3, 6, 6))])
def test_every_image_is_moved_whole_by_a_shift_in_range_filled_with_zeros_and_alike_in_all_channels(
    pixels: int, shape: tuple[int, ...]
) -> None:
    images = noise(*shape)
    shifted = shift(images, pixels, Generator().manual_seed(0))
    assert shifted.shape == images.shape
    assert shifted.dtype == torch.uint8
    offsets = range(-pixels, pixels + 1)
    for before, after in zip(images, shifted, strict=True):
        assert any(torch.equal(after, naive_shift(before, down, right)) for down in offsets for right in offsets)


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_every_pair_of_offsets_is_reached_and_equally_often(pixels: int) -> None:
    number, side = 6000, 2 * pixels + 1
    images = torch.zeros(number, 1, side, side, dtype=torch.uint8)
    images[:, 0, pixels, pixels] = 255
    shifted = shift(images, pixels, Generator().manual_seed(0))
    assert shifted.flatten(1).eq(255).sum(1).eq(1).all()
    counts = shifted.eq(255).sum((0, 1)).double()
    expected = number / side**2
    # Five standard deviations of a binomial count.
    assert (counts - expected).abs().max() < 5 * expected**0.5


def test_shifts_are_decided_by_the_generator_alone() -> None:
    images = noise(50, 1, 8, 8)
    torch.manual_seed(1)
    first = shift(images, 2, Generator().manual_seed(0))
    torch.manual_seed(2)
    assert torch.equal(shift(images, 2, Generator().manual_seed(0)), first)
    assert not torch.equal(shift(images, 2, Generator().manual_seed(1)), first)


def test_images_of_one_batch_are_shifted_each_by_its_own_offset_and_the_originals_are_kept() -> None:
    image = noise(1, 1, 9, 9)
    images = image.expand(40, -1, -1, -1).clone()
    shifted = shift(images, 2, Generator().manual_seed(0))
    assert len({tuple(one.flatten().tolist()) for one in shifted}) > 10
    assert torch.equal(images, image.expand_as(images))


def test_no_pixels_means_no_shift_and_no_draw() -> None:
    images, generator = noise(3, 1, 4, 4), Generator().manual_seed(0)
    before = generator.get_state()
    assert torch.equal(shift(images, 0, generator), images)
    assert torch.equal(generator.get_state(), before)
