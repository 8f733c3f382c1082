"""Augmentation by linear maps about the centre: rotation, squeeze and scale."""

import pytest
import torch
from augmentations import NOTHING
from seeded import generator, noise, pixels
from torch import Tensor

from capsnet.data.augmentation import (
    augmentation,
    draw_angles,
    draw_squeezes,
    rotate_map,
    sample,
    scale_map,
    squeeze_map,
)
from capsnet.data.geometry import rotate

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_angles_are_normal_up_to_a_bound_and_of_a_share_of_the_images(share: float) -> None:
    number = 30_000
    angles = draw_angles(number, 30.0, share, generator())
    assert angles.abs().max() <= 30
    rotated = angles[angles != 0]
    assert abs(len(rotated) - share * number) <= 5 * number**0.5
    if share:
        assert rotated.std().item() == pytest.approx(10, rel=0.03)  # of 30 / 3, of which little is beyond 30
        assert rotated.mean().item() == pytest.approx(0, abs=0.5)


def test_squeezes_are_half_normal_up_to_a_bound() -> None:
    shares = draw_squeezes(30_000, 0.25, generator())
    assert shares.min() >= 0
    assert shares.max() <= 0.25
    assert shares.mean().item() == pytest.approx(0.25 / 3 * (2 / torch.pi) ** 0.5, rel=0.03)


def identities(number: int) -> Tensor:
    return torch.eye(2, dtype=torch.float64).expand(number, 2, 2)


@pytest.mark.parametrize("size", [8, 9])
def test_quarters_and_halves_of_a_turn_are_those_of_the_pixels(size: int) -> None:
    images = pixels(4, 2, size, size)
    degrees = torch.tensor([0.0, 90.0, 180.0, -90.0], dtype=torch.float64)
    turned = sample(images, rotate_map(identities(4), degrees))
    for quarters, image, got in zip([0, 1, 2, -1], images, turned, strict=True):
        torch.testing.assert_close(got, torch.rot90(image, quarters, (1, 2)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("degrees", [10.0, -25.0, 75.0])
def test_a_rotation_is_that_of_the_robustness_stage(degrees: float) -> None:
    images = noise(3, 2, 12, 12)
    ours = sample(images / 255, rotate_map(identities(3).float(), torch.full((3,), degrees)))
    assert (255 * ours - rotate(images, degrees)).abs().max() <= 0.51  # which rounds to bytes


def test_a_squeezed_image_is_narrower_and_as_high_and_a_scaled_one_larger_in_both_directions() -> None:
    image = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    image[:, :, 5:16, 5:16] = 1  # 10 pixels from edge to edge, around the middle

    def extents(sources: Tensor) -> tuple[float, float]:
        mapped = sample(image, sources)[0, 0]
        return mapped.sum(0).max().item(), mapped.sum(1).max().item()

    height, width = extents(squeeze_map(identities(1), torch.tensor([0.2], dtype=torch.float64)))
    assert (height, width) == (11, pytest.approx(11 * 0.8, abs=0.6))
    height, width = extents(scale_map(identities(1), torch.tensor([1.25], dtype=torch.float64)))
    assert height == width == pytest.approx(11 * 1.25, abs=0.6)


def test_a_shape_is_turned_as_it_is_and_only_then_squeezed() -> None:
    """Or a squeeze would follow the shape around."""
    image = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    image[:, :, 4:17, 10] = 1  # upright, turned to lie: 13 long, which the squeeze then makes 10
    made = augmentation(21, 21, **NOTHING | {"rotation": 90.0, "squeeze": 0.25})
    drawn = [torch.tensor([90.0], dtype=torch.float64), torch.tensor([0.25], dtype=torch.float64)]
    sources = identities(1)
    for change, values in zip(made.maps, drawn, strict=True):
        sources = change.apply(sources, values)
    lying = sample(image, sources)[0, 0]
    assert lying[10].sum().item() == pytest.approx(13 * 0.75, abs=0.6)
    assert lying.sum(1).argmax() == 10
