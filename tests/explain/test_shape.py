"""What is measured of drawn shapes whose measures are known.

Axes: N images, C channels, H W height and width.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from capsnet.explain.shape import MEASURES, measure

pytestmark = pytest.mark.usefixtures("one_thread")
FINE = 8  # points a pixel, along each side


def draw(inside: Callable[[Tensor, Tensor], Tensor], size: int = 28) -> Tensor:
    """Draw where `inside` of x to the right and y upwards from the centre is true, in shades of grey at the edges."""
    places = (torch.arange(size * FINE, dtype=torch.float64) + 0.5) / FINE - size / 2
    picture = inside(places[None, :], -places[:, None]).double()
    return picture.reshape(size, FINE, size, FINE).mean((1, 3))[None, None]


def bar(length: float, thickness: float, degrees: float = 0.0, right: float = 0.0, up: float = 0.0) -> Tensor:
    """A bar that is turned clockwise from upright, so that it leans to the right."""
    turn = math.radians(degrees)

    def inside(x: Tensor, y: Tensor) -> Tensor:
        along = (x - right) * math.sin(turn) + (y - up) * math.cos(turn)
        across = (x - right) * math.cos(turn) - (y - up) * math.sin(turn)
        return (along.abs() <= length / 2) & (across.abs() <= thickness / 2)

    return draw(inside)


def measured(images: Tensor) -> dict[str, float]:
    return dict(zip(MEASURES, measure(images)[0].tolist(), strict=True))


def test_an_upright_bar_has_its_sides_area_and_place() -> None:
    found = measured(bar(16, 4, right=2, up=-3))
    assert found["ink"] == pytest.approx(64)
    assert found["height"] == pytest.approx(16, abs=0.1)
    assert found["width"] == pytest.approx(4, abs=0.2)
    assert found["x position"] == pytest.approx(2)
    assert found["y position"] == pytest.approx(-3)
    assert found["slant"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("degrees", [-20, 0, 20, 35])
@pytest.mark.parametrize("thickness", [2, 3, 4])
def test_a_leaning_bar_is_as_thick_as_an_upright_one(thickness: float, degrees: float) -> None:
    assert measured(bar(18, thickness, degrees))["thickness"] == pytest.approx(thickness, abs=0.25)


@pytest.mark.parametrize("degrees", [-30, -10, 10, 20])
def test_a_bar_that_is_tilted_has_that_slant(degrees: float) -> None:
    found = measured(bar(20, 2, degrees))
    assert found["slant"] == pytest.approx(degrees, abs=0.5)
    assert found["height"] == pytest.approx(20 * math.cos(math.radians(degrees)), abs=0.3)


def test_what_leans_has_the_width_and_height_that_it_has_upright() -> None:
    lean = math.tan(math.radians(20))
    found = measured(draw(lambda x, y: ((x - lean * y).abs() <= 3) & (y.abs() <= 8)))
    assert found["slant"] == pytest.approx(20, abs=0.1)
    assert found["width"] == pytest.approx(6, abs=0.1)
    assert found["height"] == pytest.approx(16, abs=0.1)


def test_a_ring_is_as_thick_as_its_stroke() -> None:
    assert measured(draw(lambda x, y: (torch.hypot(x, y) - 7).abs() <= 1))["thickness"] == pytest.approx(2, abs=0.1)


def test_a_paler_shape_has_less_ink_and_the_same_form() -> None:
    black, grey = measured(bar(16, 3, 20, right=1)), measured(0.5 * bar(16, 3, 20, right=1))
    assert grey.pop("ink") == pytest.approx(black.pop("ink") / 2)
    assert grey == pytest.approx(black)


def test_dark_on_bright_is_measured_like_bright_on_dark_and_haze_not_at_all() -> None:
    shape = bar(16, 3, 20, up=2)
    haze = 0.05 * torch.rand(shape.shape, generator=torch.Generator().manual_seed(0), dtype=shape.dtype)
    haze[:, :, [0, -1]] = haze[..., [0, -1]] = 0
    assert measured(0.9 - 0.8 * shape) == pytest.approx(measured(0.8 * shape))
    assert measured(torch.maximum(shape, haze)) == pytest.approx(measured(shape))


def test_colours_and_stereo_pairs_are_measured_in_their_mean_channel() -> None:
    shape = bar(16, 3, 20)
    assert measured(torch.cat([shape, 0.5 * shape, 0 * shape], 1)) == pytest.approx(measured(0.5 * shape))


def test_an_image_is_measured_alike_in_any_company_and_an_empty_one_is_zero() -> None:
    images = torch.cat([bar(16, 3, 20), torch.zeros(1, 1, 28, 28, dtype=torch.float64), bar(9, 5, -40, right=3)])
    together = measure(images)
    assert torch.equal(together[1], torch.zeros(len(MEASURES), dtype=torch.float64))
    assert torch.allclose(together, torch.cat([measure(image[None]) for image in images]))
