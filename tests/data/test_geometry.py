"""Rotation of images: laws, and a reference that looks each pixel up.

Axes: N images, C channels, H height and width.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from capsnet.data import geometry
from capsnet.data.geometry import rotate

pytestmark = pytest.mark.usefixtures("one_thread")
SIZES = (1, 2, 20, 28, 41)


def noise(size: int, number: int = 3, channels: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (number, channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("degrees", [0.0, 360.0, -720.0])
def test_whole_turns_change_nothing(degrees: float, size: int) -> None:
    images = noise(size)
    assert torch.equal(rotate(images, degrees), images)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quarters", [1, 2, 3, -1, 5])
def test_quarter_turns_move_the_pixels_unchanged_and_counter_clockwise(quarters: int, size: int) -> None:
    images = noise(size)
    turned = rotate(images, 90.0 * quarters)
    assert torch.equal(turned, torch.rot90(images, quarters, (2, 3)))
    if quarters == 1:
        assert torch.equal(turned, images.transpose(2, 3).flip(2))
    if quarters == 2:
        assert torch.equal(turned, images.flip(2, 3))


def test_what_is_on_the_right_is_at_the_upper_right_an_eighth_of_a_turn_later() -> None:
    images = torch.zeros(1, 1, 21, 21, dtype=torch.uint8)
    images[0, 0, 9:12, 16:19] = 255
    turned = rotate(images, 45.0)[0, 0].double()
    row, column = (turned.sum(1 - axis) @ torch.arange(21.0, dtype=torch.float64) / turned.sum() for axis in (0, 1))
    offset = 7 / math.sqrt(2)
    assert row.item() == pytest.approx(10 - offset, abs=0.05)
    assert column.item() == pytest.approx(10 + offset, abs=0.05)


@settings(deadline=None, max_examples=40)
@given(degrees=st.floats(-360, 360), size=st.integers(2, 9))
def test_each_pixel_is_interpolated_from_the_four_around_its_source(degrees: float, size: int) -> None:
    image = noise(size, 1, 1)[0, 0]
    turned = rotate(image[None, None], degrees)[0, 0]
    centre, turn = (size - 1) / 2, math.radians(degrees)
    for row in range(size):
        for column in range(size):
            x, y = column - centre, row - centre
            from_x = centre + x * math.cos(turn) - y * math.sin(turn)
            from_y = centre + x * math.sin(turn) + y * math.cos(turn)
            expected = sum(
                image[r, c].item() * (1 - abs(from_y - r)) * (1 - abs(from_x - c))
                for r in (math.floor(from_y), math.floor(from_y) + 1)
                for c in (math.floor(from_x), math.floor(from_x) + 1)
                if 0 <= r < size and 0 <= c < size
            )
            assert turned[row, column].item() == pytest.approx(expected, abs=0.51)


def test_an_image_is_rotated_alike_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noise(20, number=7)
    together = rotate(images, 30.0)
    monkeypatch.setattr(geometry, "BLOCK", 2)
    assert torch.equal(rotate(images, 30.0), together)
    assert torch.equal(torch.cat([rotate(image[None], 30.0) for image in images]), together)
