"""Shifts of images by whole pixels.

Axes: N images of an epoch, B batch, C channels, H W height and width.
"""

import pytest
import torch
from torch import Generator, Tensor

from capsnet.data.augmentation import draw_shifts, shift


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


def drawn(number: int, pixels: int, seed: int = 0) -> Tensor:
    return draw_shifts(number, pixels, Generator().manual_seed(seed))


@pytest.mark.parametrize(("pixels", "shape"), [(1, (60, 1, 5, 7)), (2, (400, 2, 6, 5)), (6, (5, 3, 6, 6))])
def test_every_image_is_moved_whole_by_its_own_shift_filled_with_zeros_and_alike_in_all_channels(
    pixels: int, shape: tuple[int, ...]
) -> None:
    images, shifts = noise(*shape), drawn(shape[0], pixels)
    shifted = shift(images, shifts)
    assert shifted.shape == images.shape
    assert shifted.dtype == torch.uint8
    for before, after, (down, right) in zip(images, shifted, shifts.T.tolist(), strict=True):
        assert torch.equal(after, naive_shift(before, down, right))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, 0), (0, -5), (-7, 100), (3, -4)])
def test_a_shift_by_any_number_of_pixels_moves_the_image_out_in_the_end(down: int, right: int) -> None:
    images = noise(2, 2, 4, 5)
    shifted = shift(images, torch.tensor([[down, 0], [right, 0]]))
    assert torch.equal(shifted[0], naive_shift(images[0], down, right))
    assert torch.equal(shifted[1], images[1])


@pytest.mark.parametrize("pixels", [1, 2, 3])
def test_every_pair_of_offsets_is_drawn_and_equally_often(pixels: int) -> None:
    number, side = 6000, 2 * pixels + 1
    shifts = drawn(number, pixels)
    assert shifts.shape == (2, number)
    assert shifts.abs().max() == pixels
    counts = torch.bincount((shifts[0] + pixels) * side + shifts[1] + pixels, minlength=side**2).double()
    expected = number / side**2
    # Five standard deviations of a binomial count.
    assert (counts - expected).abs().max() < 5 * expected**0.5


def test_draws_are_decided_by_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = drawn(50, 2)
    torch.manual_seed(2)
    assert torch.equal(drawn(50, 2), first)
    assert not torch.equal(drawn(50, 2, seed=1), first)


def test_shifting_draws_nothing_and_keeps_the_originals() -> None:
    image = noise(1, 1, 9, 9)
    images, shifts = image.expand(40, -1, -1, -1).clone(), drawn(40, 2)
    before = torch.get_rng_state()
    shifted = shift(images, shifts)
    assert len({tuple(one.flatten().tolist()) for one in shifted}) > 10
    assert torch.equal(images, image.expand_as(images))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_image_is_shifted_alike_whatever_its_batch_mates() -> None:
    images, shifts = noise(12, 2, 6, 7), drawn(12, 3)
    together = shift(images, shifts)
    for part in (slice(0, 5), slice(5, 6), slice(6, 12)):
        assert torch.equal(shift(images[part], shifts[:, part]), together[part])


def test_no_pixels_means_no_shift() -> None:
    images = noise(3, 1, 4, 4)
    assert torch.equal(shift(images, drawn(3, 0)), images)
