"""Readers of official files: the IDX format of MNIST and Fashion-MNIST, scikit-learn's digits."""

import gzip
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from official_files import gzipped, idx, write_idx

from capsnet.data.arrays import Arrays, check
from capsnet.files import md5
from capsnet.sources import digits, fashion, mnist
from capsnet.sources.catalogue import OFFICIAL, official
from capsnet.sources.idx import read_idx


@pytest.fixture(scope="module")
def digit_arrays() -> Arrays:
    return digits.read(Path(digits.servers()[0]))


@pytest.mark.parametrize("shape", [(5,), (0,), (2, 3), (2, 3, 4), (1, 2, 3, 4)])
def test_an_idx_file_written_by_hand_is_read_back(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    read = read_idx(gzipped(tmp_path / "file.gz", idx(array)))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


def test_an_idx_file_of_known_bytes_is_read_in_row_order(tmp_path: Path) -> None:
    content = bytes.fromhex("00000802 00000002 00000003 01020304 05ff")
    assert read_idx(gzipped(tmp_path / "file.gz", content)).tolist() == [[1, 2, 3], [4, 5, 255]]


GOOD_IDX = idx(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x0d" + GOOD_IDX[3:], "got magic number 0x00000d02, expected 0x000008"),
        (b"\1" + GOOD_IDX[1:], "got magic number 0x01000802, expected 0x000008"),
        (b"\0\0\x08\0", "got magic number 0x00000800, expected 0x000008"),
        (b"\0\0", "got magic number 0x0000, expected 0x000008"),
        (b"", "got magic number 0x, expected 0x000008"),
        (b"<html>", "got magic number 0x3c68746d, expected 0x000008"),
        (GOOD_IDX[:9], "got 9 bytes, expected a header of 12"),
        (GOOD_IDX[:-1], r"got 11 bytes of data, expected 12 for shape \(3, 4\)"),
        (GOOD_IDX + b"\0", r"got 13 bytes of data, expected 12 for shape \(3, 4\)"),
    ],
)
def test_an_idx_file_that_is_not_what_it_says_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"file.gz: {message}"):
        read_idx(gzipped(tmp_path / "file.gz", content))


@pytest.mark.parametrize("damage", ["truncated", "damaged", "not gzip", "wrong checksum"])
def test_a_gzip_that_is_truncated_or_damaged_is_refused_with_the_way_out(damage: str, tmp_path: Path) -> None:
    path = gzipped(tmp_path / "file.gz", idx(np.random.default_rng(0).integers(0, 256, (300,), np.uint8)))
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-20],
            "damaged": content[:10] + b"\xff" * 100 + content[110:],
            "not gzip": b"<html>not found</html>",
            "wrong checksum": content[:-8] + bytes(4) + content[-4:],
        }[damage]
    )
    with pytest.raises(ValueError, match=r"file\.gz: truncated or damaged gzip .*; delete it and download again"):
        read_idx(path)


@pytest.mark.parametrize("dataset", [mnist, fashion])
def test_the_four_idx_files_become_two_splits_with_named_classes(dataset: ModuleType, tmp_path: Path) -> None:
    written = write_idx(tmp_path)
    arrays = dataset.read(tmp_path)
    assert arrays.classes == 10
    assert arrays.note == ""
    assert arrays.class_names == dataset.CLASS_NAMES
    for name, split in (("train", arrays.train), ("test", arrays.test)):
        np.testing.assert_array_equal(split.images[:, 0], written[f"{name}_images"])
        np.testing.assert_array_equal(split.labels, written[f"{name}_labels"])
        assert split.images.shape[1:] == (1, 28, 28)
        assert split.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            "train_images",
            np.zeros((20, 27, 28), np.uint8),
            r"train-images-idx3-ubyte.gz: got shape \(20, 27, 28\), expected \(N, 28, 28\)",
        ),
        (
            "test_images",
            np.zeros((3,), np.uint8),
            r"t10k-images-idx3-ubyte.gz: got shape \(3,\), expected \(N, 28, 28\)",
        ),
        (
            "train_labels",
            np.full(20, 10, np.uint8),
            "train-labels-idx1-ubyte.gz: expected one label from 0 to 9 an image",
        ),
        (
            "test_labels",
            np.array([9, 11, 0], np.uint8),
            "t10k-labels-idx1-ubyte.gz: expected one label from 0 to 9 an image",
        ),
        (
            "test_labels",
            np.zeros((3, 1), np.uint8),
            "t10k-labels-idx1-ubyte.gz: expected one label from 0 to 9 an image",
        ),
        ("test_labels", np.zeros(2, np.uint8), "test: got 3 images and 2 labels"),
        ("train_labels", np.zeros(20, np.uint8), "test_labels: got 9, expected 0 to 0"),
    ],
)
def test_mnist_files_that_do_not_fit_are_refused_by_name(
    name: str, array: np.ndarray, message: str, tmp_path: Path
) -> None:
    write_idx(tmp_path, **{name: array})
    with pytest.raises(ValueError, match=message):
        mnist.read(tmp_path)


def test_digits_are_1347_and_450_images_of_28x28_in_ten_classes(digit_arrays: Arrays) -> None:
    assert digit_arrays.train.images.shape == (1347, 1, 28, 28)
    assert digit_arrays.test.images.shape == (450, 1, 28, 28)
    assert digit_arrays.classes == 10
    for split in (digit_arrays.train, digit_arrays.test):
        assert sorted(set(split.labels.tolist())) == list(range(10))
        assert split.images.dtype == np.uint8
        assert split.images.max() == 255
    check(digit_arrays, "digits")


def test_digits_are_the_same_each_time(digit_arrays: Arrays) -> None:
    again = digits.read(Path(digits.servers()[0]))
    for one, other in ((digit_arrays.train, again.train), (digit_arrays.test, again.test)):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_digits_keep_the_order_of_the_file_and_hold_back_its_end(digit_arrays: Arrays) -> None:
    """Neighbours are by the same hand: a shuffled split would have every writer on both sides."""
    with gzip.open(Path(digits.servers()[0]) / digits.FILES[0].name, "rt") as file:
        table = np.loadtxt(file, delimiter=",").astype(int)
    labels = np.concatenate([digit_arrays.train.labels, digit_arrays.test.labels])
    np.testing.assert_array_equal(labels, table[:, 64])
    ink = np.concatenate([digit_arrays.train.images, digit_arrays.test.images]).sum((1, 2, 3)).astype(float)
    assert np.corrcoef(ink, table[:, :64].sum(1))[0, 1] > 0.99


def test_digits_have_an_empty_border_of_two_pixels_that_shifts_may_use(digit_arrays: Arrays) -> None:
    inner = digit_arrays.train.images[:, :, 2:-2, 2:-2]
    assert inner.sum(dtype=np.int64) == digit_arrays.train.images.sum(dtype=np.int64)
    assert inner[:, :, 0].any()


def test_enlarging_is_bilinear_by_three_with_level_16_as_white() -> None:
    image = np.zeros((1, 8, 8))
    image[0, 2, 3] = 16
    large = digits.enlarge(image)
    assert large.shape == (1, 1, 28, 28)
    falling = np.array([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
    expected = np.zeros((28, 28))
    # Old pixel 2 covers the new pixels 6 to 8 behind the border; the neighbours' centres are 3 away.
    expected[7:12, 10:15] = np.round(255 * np.outer(falling, falling) + 1e-9)
    np.testing.assert_array_equal(large[0, 0], expected)


def test_the_installed_digits_are_the_official_file() -> None:
    assert md5(Path(digits.servers()[0]) / digits.FILES[0].name) == digits.FILES[0].md5


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_data_set_names_its_classes_its_servers_and_its_files_with_checksums(name: str) -> None:
    dataset = official(name)
    assert len(set(dataset.CLASS_NAMES)) == len(dataset.CLASS_NAMES) >= 2
    assert dataset.servers()
    for file in dataset.FILES:
        assert file.md5 is not None
        assert len(bytes.fromhex(file.md5)) == 16
