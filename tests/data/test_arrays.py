"""The common format of data sets: what is read, written and checked.

Axes: N images, C channels, H W height and width.
"""

from pathlib import Path

import numpy as np
import pytest
from own_arrays import Contents, saved

from capsnet.data.arrays import Arrays, Split, check, duplicates, read_arrays, read_split, write_arrays


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    "shape", [(6, 6), (6, 6, 1), (6, 6, 2), (6, 6, 3), (6, 6, 4), (1, 6, 6), (2, 6, 6), (4, 6, 6), (3, 3, 3)]
)
def test_every_accepted_shape_becomes_channels_first(
    split: str, shape: tuple[int, ...], good: Contents, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1)
    for name, number in (("train", 9), ("test", 4)):
        good[f"{name}_images"] = noise.integers(0, 256, (number, *shape), np.uint8)
    read = getattr(read_arrays(saved(tmp_path, good)), split)
    images = good[f"{split}_images"]
    if shape[:2] == (6, 6):
        images = np.stack([images] if len(shape) == 2 else [images[..., c] for c in range(shape[2])], 1)
    np.testing.assert_array_equal(read.images, images)
    np.testing.assert_array_equal(read.labels, good[f"{split}_labels"])
    assert read.images.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_labels_of_every_whole_type_become_int64(dtype: type, good: Contents, tmp_path: Path) -> None:
    good["train_labels"] = good["train_labels"].astype(dtype)
    arrays = read_arrays(saved(tmp_path, good))
    assert arrays.train.labels.dtype == np.int64
    assert arrays.train.labels.tolist() == [0, 1, 2] * 3
    assert arrays.classes == 3


def test_a_note_is_read_and_its_absence_is_empty(good: Contents, tmp_path: Path) -> None:
    assert read_arrays(saved(tmp_path, good)).note == ""
    assert read_arrays(saved(tmp_path, {**good, "note": np.array("a copy")})).note == "a copy"


def test_class_names_are_read_in_the_order_of_the_labels_and_their_absence_is_empty(
    good: Contents, tmp_path: Path
) -> None:
    assert read_arrays(saved(tmp_path, good)).class_names == ()
    names = np.array(["cat", "dog", "Übermensch"])
    assert read_arrays(saved(tmp_path, {**good, "class_names": names})).class_names == tuple(names)


def test_further_whole_numbers_an_image_are_its_attributes(good: Contents, tmp_path: Path) -> None:
    good |= {"train_azimuth": np.arange(9, dtype=np.uint8), "test_azimuth": np.arange(4) - 2}
    path = saved(tmp_path, good)
    arrays = read_arrays(path)
    assert arrays.train.attributes["azimuth"].tolist() == list(range(9))
    assert arrays.test.attributes["azimuth"].tolist() == [-2, -1, 0, 1]
    assert read_split(path, "train").attributes["azimuth"].dtype == np.int64


def test_reading_the_training_split_never_touches_the_test_split(good: Contents, tmp_path: Path) -> None:
    del good["test_images"]
    good["test_labels"] = np.array([None], dtype=object)
    split = read_split(saved(tmp_path, good), "train")
    np.testing.assert_array_equal(split.images[:, 0], good["train_images"])


def test_arrays_written_are_read_back_and_equal_arrays_give_equal_bytes(good: Contents, tmp_path: Path) -> None:
    arrays = Arrays(
        Split(good["train_images"][:, None], good["train_labels"], {"view": np.arange(9), "azimuth": np.arange(9) * 2}),
        Split(good["test_images"][:, None], good["test_labels"], {"view": np.arange(4), "azimuth": np.arange(4) * 2}),
        "a copy",
        ("one", "two", "three"),
    )
    paths = [tmp_path / "one.npz", tmp_path / "folder" / "another.npz"]
    for path in paths:
        write_arrays(path, arrays)
    read = read_arrays(paths[0])
    assert (read.note, read.class_names) == ("a copy", ("one", "two", "three"))
    for split, original in ((read.train, arrays.train), (read.test, arrays.test)):
        np.testing.assert_array_equal(split.images, original.images)
        np.testing.assert_array_equal(split.labels, original.labels)
        assert split.attributes.keys() == original.attributes.keys()
        for name, values in original.attributes.items():
            np.testing.assert_array_equal(split.attributes[name], values)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["one.npz"]


def test_arrays_in_memory_are_checked_under_the_name_given(good: Contents) -> None:
    test = Split(good["test_images"][:, None], good["test_labels"])
    train = Split(good["train_images"][:, None], good["train_labels"] + 1)
    with pytest.raises(ValueError, match=r"^somewhere: class 0 has no training image"):
        check(Arrays(train, test, ""), "somewhere")


def test_a_test_image_with_the_pixels_of_a_training_image_is_found(good: Contents) -> None:
    good["test_images"][3] = good["train_images"][5]
    good["test_images"][1] = good["train_images"][7] = good["train_images"][2]
    arrays = Arrays(
        Split(good["train_images"][:, None], good["train_labels"]),
        Split(good["test_images"][:, None], good["test_labels"]),
        "",
    )
    assert duplicates(arrays) == [(2, 1), (5, 3)]
