"""affNIST-style digits: where they may lie, which maps are drawn, what a map does to an image.

Axes: N images.
"""

import numpy as np
import pytest

from capsnet.data.arrays import Arrays, Split
from capsnet.sources import affnist

IDENTITY = np.eye(2)[None]
CENTRE = np.full((1, 2), 0.5)


def digits(count: int, seed: int) -> np.ndarray:
    """Strokes in the inner 20x20 pixels, as MNIST's digits are."""
    noise = np.random.default_rng(seed)
    images = np.zeros((count, 1, 28, 28), np.uint8)
    for image in images:
        row, column = noise.integers(4, 12, 2)
        image[0, row : row + 11, column : column + 4] = noise.integers(100, 256)
        image[0, row : row + 3, column : column + 11] = noise.integers(100, 256)
    return images


@pytest.fixture
def mnist() -> Arrays:
    train, test = (Split(digits(count, seed), np.arange(count) % 3) for count, seed in ((60, 0), (40, 1)))
    return Arrays(train, test, "", ("0", "1", "2"))


def test_a_seed_gives_the_same_images_and_another_seed_others(mnist: Arrays) -> None:
    one, again, other = affnist.make(mnist, 3), affnist.make(mnist, 3), affnist.make(mnist, 4)
    for split in ("train", "test"):
        images = getattr(one, split).images
        assert images.shape == (len(getattr(mnist, split).images), 1, 40, 40)
        np.testing.assert_array_equal(images, getattr(again, split).images)
        assert (images != getattr(other, split).images).any(axis=(1, 2, 3)).mean() > 0.9
        np.testing.assert_array_equal(getattr(one, split).labels, getattr(mnist, split).labels)
    assert one.class_names == mnist.class_names


def test_the_note_says_that_it_is_not_the_published_set_and_keeps_that_of_the_digits(mnist: Arrays) -> None:
    assert affnist.make(mnist, 7).note == "affNIST-style, made from MNIST with seed 7, not the published affNIST files"
    assert affnist.make(mnist._replace(note="a copy"), 7).note.startswith("a copy; affNIST-style")


def test_the_test_images_do_not_depend_on_how_many_training_images_there_are(mnist: Arrays) -> None:
    fewer = mnist._replace(train=Split(mnist.train.images[:9], mnist.train.labels[:9]))
    np.testing.assert_array_equal(affnist.make(fewer, 0).test.images, affnist.make(mnist, 0).test.images)


def test_a_training_digit_lies_unchanged_at_any_whole_pixel_of_the_field() -> None:
    images = np.random.default_rng(0).integers(1, 256, (3000, 1, 28, 28), np.uint8)
    fields = affnist.place_at_random(images, np.random.default_rng(0))
    corners = []
    for image, field in zip(images, fields, strict=True):
        rows, columns = np.flatnonzero(field[0].any(1)), np.flatnonzero(field[0].any(0))
        corners.append((rows[0], columns[0]))
        np.testing.assert_array_equal(field[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], image[0])
    for axis in np.array(corners).T:
        counts = np.bincount(axis, minlength=13)
        assert len(counts) == 13
        assert counts.min() > 170  # 231 are expected of each
    assert abs(np.corrcoef(np.array(corners).T)[0, 1]) < 0.05


def test_the_maps_cover_the_ranges_of_affnist() -> None:
    maps = affnist.draw_maps(20000, np.random.default_rng(0))
    angle = np.rad2deg(np.arctan2(maps[:, 1, 0], maps[:, 0, 0]))
    rotation = np.deg2rad(angle)
    turned_back = np.array([[np.cos(rotation), np.sin(rotation)], [-np.sin(rotation), np.cos(rotation)]])
    stretch = np.einsum("xyn,nyz->nxz", turned_back, maps)
    width, height = stretch[:, 0, 0], stretch[:, 1, 1]
    np.testing.assert_allclose(stretch[:, 1, 0], 0, atol=1e-12)
    for values, low, high in (
        (angle, -20, 20),
        (stretch[:, 0, 1] / height, -0.2, 0.2),
        (width, 0.8, 1.2),
        (height, 0.8, 1.2),
    ):
        span = high - low
        assert low <= values.min() < low + span / 100
        assert high - span / 100 < values.max() <= high
        np.testing.assert_allclose(
            np.quantile(values, [0.25, 0.5, 0.75]), low + span * np.array([0.25, 0.5, 0.75]), atol=span / 50
        )


def test_a_warped_digit_keeps_its_ink_inside_the_field(mnist: Arrays) -> None:
    generator = np.random.default_rng(0)
    for corner in np.random.default_rng(1).integers(0, 2, (20, 2)):
        maps = affnist.draw_maps(len(mnist.test.images), generator)
        warped = affnist.warp(mnist.test.images, maps, np.broadcast_to(corner.astype(float), (len(maps), 2)))
        ink = mnist.test.images.sum((1, 2, 3)) * np.linalg.det(maps)
        np.testing.assert_allclose(warped.sum((1, 2, 3)), ink, rtol=0.03)


def test_places_run_from_the_upper_left_to_the_lower_right() -> None:
    image = np.zeros((1, 1, 28, 28), np.uint8)
    image[0, 0, 10:15, 12:20] = 200
    for place, rows, columns in (([0, 0], (1, 5), (1, 8)), ([1, 0], (1, 5), (31, 38)), ([1, 1], (34, 38), (31, 38))):
        warped = affnist.warp(image, IDENTITY, np.array([place], float))[0, 0]
        assert (np.flatnonzero(warped.any(1))[[0, -1]] == rows).all()
        assert (np.flatnonzero(warped.any(0))[[0, -1]] == columns).all()
        assert set(np.unique(warped)) == {0, 200}


def test_a_map_is_about_the_centre_x_to_the_right_and_y_down() -> None:
    image = np.zeros((1, 1, 28, 28), np.uint8)
    image[0, 0, 9:19, 9:19] = 240
    wider = affnist.warp(image, np.diag([1.2, 1.0])[None], CENTRE)[0, 0]
    np.testing.assert_array_equal(np.flatnonzero(wider.any(1))[[0, -1]], [15, 24])
    assert wider[20].sum() == pytest.approx(240 * 12, rel=0.01)
    image[0, 0, :, :13] = image[0, 0, :, 15:] = 0  # an upright bar
    # A shear moves what is below to the right; a quarter turn lays the bar down.
    sheared = affnist.warp(image, np.array([[[1.0, 0.2], [0.0, 1.0]]]), CENTRE)[0, 0]
    assert sheared[16] @ np.arange(40) / sheared[16].sum() < sheared[23] @ np.arange(40) / sheared[23].sum() - 1
    turned = affnist.warp(image, np.array([[[0.0, -1.0], [1.0, 0.0]]]), CENTRE)[0, 0]
    np.testing.assert_array_equal(turned[19:21, 15:25], 240)
    assert turned.sum() == image.sum()


def test_a_digit_that_does_not_fit_is_refused_and_an_empty_image_stays_empty() -> None:
    with pytest.raises(ValueError, match="affnist: got a digit of 44x44 pixels after its map, expected at most 40"):
        affnist.warp(np.full((1, 1, 28, 28), 9, np.uint8), np.eye(2)[None] * 1.5, CENTRE)
    empty = np.zeros((2, 1, 28, 28), np.uint8)
    assert not affnist.warp(empty, affnist.draw_maps(2, np.random.default_rng(0)), np.zeros((2, 2))).any()
