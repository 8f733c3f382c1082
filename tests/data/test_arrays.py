"""The one format of data sets: what is accepted, and every refusal by its message.

Axes: N images, C channels, H W height and width.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsnet.data.arrays import Arrays, Split, check, duplicates, read_arrays, read_split, write_arrays

Contents = dict[str, np.ndarray]


@pytest.fixture
def good() -> Contents:
    """9 training and 4 test images of 6x6 pixels in 3 classes."""
    noise = np.random.default_rng(0)
    return {
        "train_images": noise.integers(0, 256, (9, 6, 6), np.uint8),
        "train_labels": np.arange(9) % 3,
        "test_images": noise.integers(0, 256, (4, 6, 6), np.uint8),
        "test_labels": np.array([2, 1, 0, 1]),
    }


def saved(folder: Path, contents: Contents) -> Path:
    path = folder / "own.npz"
    np.savez(path, **contents)
    return path


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


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    (
        "float images",
        {"train_images": lambda a: a / 255},
        "train_images: got float64, expected uint8 from 0 to 255",
    ),
    (
        "int images",
        {"test_images": lambda a: a.astype(int)},
        "test_images: got int64, expected uint8 from 0 to 255",
    ),
    (
        "not square",
        {"train_images": lambda a: a[:, :5]},
        r"train_images: got shape \(9, 1, 5, 6\), expected square images \(N, H, W\)",
    ),
    (
        "five channels",
        {"train_images": lambda a: np.stack([a] * 5, 3)},
        r"train_images: got shape \(9, 6, 6, 5\), expected square images",
    ),
    (
        "two axes",
        {"train_images": lambda a: a[0]},
        r"train_images: got shape \(6, 6\), expected square images",
    ),
    (
        "five axes",
        {"train_images": lambda a: a[:, None, None]},
        r"train_images: got shape \(9, 1, 1, 6, 6\), expected square images",
    ),
    (
        "mixed sizes of splits",
        {"test_images": lambda a: a[:, :5, :5]},
        r"mixed sizes: train images are \(1, 6, 6\), test images \(1, 5, 5\) \(channels, height, width\)",
    ),
    (
        "mixed channels of splits",
        {"test_images": lambda a: np.stack([a] * 3, 3)},
        r"mixed sizes: train images are \(1, 6, 6\), test images \(3, 6, 6\)",
    ),
    (
        "mixed sizes in a split",
        {"train_images": lambda a: np.array([a[0], a[1, :5]], dtype=object)},
        "train: an array of Python objects; expected images of one size",
    ),
    (
        "object labels",
        {"test_labels": lambda a: np.array(["a", None, 0, 1], dtype=object)},
        "test: an array of Python objects; expected images of one size and whole-number labels",
    ),
    (
        "negative label",
        {"train_labels": lambda a: a - 1},
        "train_labels: got -1, expected labels from 0",
    ),
    (
        "negative test label",
        {"test_labels": lambda a: a - 1},
        "test_labels: got -1, expected labels from 0",
    ),
    (
        "test label out of range",
        {"test_labels": lambda a: a + 1},
        "test_labels: got 3, expected 0 to 2 as in train_labels",
    ),
    (
        "float labels",
        {"train_labels": lambda a: a.astype(float)},
        r"train_labels: got float64 of shape \(9,\), expected whole numbers of shape \(N,\)",
    ),
    (
        "text labels",
        {"train_labels": lambda a: a.astype(str)},
        r"train_labels: got <U\d+ of shape \(9,\), expected whole numbers",
    ),
    (
        "one-hot labels",
        {"train_labels": lambda a: np.eye(3, dtype=int)[a]},
        r"train_labels: got int64 of shape \(9, 3\), expected whole numbers of shape \(N,\)",
    ),
    (
        "empty class",
        {"train_labels": lambda a: np.where(a == 1, 2, a)},
        "class 1 has no training image; labels count from 0 without a gap",
    ),
    (
        "labels from one",
        {"train_labels": lambda a: a + 1},
        "class 0 has no training image",
    ),
    (
        "too few labels",
        {"train_labels": lambda a: a[:-1]},
        "train: got 9 images and 8 labels",
    ),
    (
        "too few test images",
        {"test_images": lambda a: a[:-1]},
        "test: got 3 images and 4 labels",
    ),
    (
        "no test images",
        {"test_images": lambda a: a[:0], "test_labels": lambda a: a[:0]},
        "test: got no images, expected at least one",
    ),
    (
        "no training images",
        {"train_images": lambda a: a[:0], "train_labels": lambda a: a[:0]},
        "train: got no images, expected at least one",
    ),
]


@pytest.mark.parametrize(
    ("changes", "message"),
    [pytest.param(changes, message, id=name) for name, changes, message in REFUSALS],
)
def test_what_cannot_be_used_is_refused_by_file_and_array(
    changes: dict[str, Any], message: str, good: Contents, tmp_path: Path
) -> None:
    path = saved(tmp_path, {**good, **{name: change(good[name]) for name, change in changes.items()}})
    with pytest.raises(ValueError, match=f"own.npz: {message}"):
        read_arrays(path)


EXTRA: list[tuple[Contents, str]] = [
    ({"class_names": np.array(["a", "b"])}, "class_names: got 2, expected 3, one a class"),
    ({"class_names": np.array([1, 2, 3])}, r"class_names: got int64 of shape \(3,\), expected a string a class"),
    ({"class_names": np.array("abc")}, r"class_names: got <U3 of shape \(\), expected a string a class"),
    ({"class_names": np.array(["a", None, "c"], object)}, "class_names: expected text"),
    ({"note": np.array([None], object)}, "note: expected text"),
    ({"train_angle": np.zeros(9)}, r"train_angle: got float64 of shape \(9,\), expected whole numbers"),
    ({"train_angle": np.zeros((9, 2), int)}, r"train_angle: got int64 of shape \(9, 2\), expected whole numbers"),
    ({"train_angle": np.zeros(9, int)}, "got one of train_angle and test_angle, expected both or neither"),
    (
        {"train_angle": np.zeros(9, int), "test_angle": np.zeros(3, int)},
        "test_angle: got 3 values for 4 images",
    ),
]


@pytest.mark.parametrize(("extra", "message"), EXTRA)
def test_names_and_attributes_that_do_not_fit_are_refused(
    extra: Contents, message: str, good: Contents, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"own.npz: {message}"):
        read_arrays(saved(tmp_path, good | extra))


@pytest.mark.parametrize("missing", ["train_images", "train_labels", "test_images", "test_labels"])
def test_a_missing_array_is_named_beside_those_that_are_there(missing: str, good: Contents, tmp_path: Path) -> None:
    del good[missing]
    with pytest.raises(ValueError, match=f"no array '{missing}'; it holds {', '.join(sorted(good))}"):
        read_arrays(saved(tmp_path, good))


@pytest.mark.parametrize(
    "save",
    [
        np.savez,
        np.savez_compressed,
    ],
)
@pytest.mark.parametrize("part", ["train_images.npy", "train_labels.npy"])
def test_damaged_bytes_in_the_file_are_refused(
    save: Callable[..., None], part: str, good: Contents, tmp_path: Path
) -> None:
    path = tmp_path / "own.npz"
    save(path, **good)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(part)
    content = bytearray(path.read_bytes())
    name_and_extra = content[member.header_offset + 26 : member.header_offset + 30]
    data = member.header_offset + 30 + sum(int.from_bytes(name_and_extra[i : i + 2], "little") for i in (0, 2))
    middle = data + member.compress_size - 20
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.npz: train: damaged"):
        read_arrays(path)


def single_array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"not an archive", b"", b"PK\3\4 and no more", single_array()],
    ids=["text", "empty", "truncated", "npy"],
)
def test_what_is_no_npz_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"own\.npz: not an \.npz file, or a damaged one"):
        read_arrays(path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="second half missing"),
        pytest.param(
            lambda content: content.replace(b"PK\1\2", b"PK\0\0"),
            id="directory overwritten",
        ),
        pytest.param(
            lambda content: b"\0\0" + content[2:],
            id="beginning overwritten",
        ),
    ],
)
def test_a_damaged_npz_file_is_refused(damage: Callable[[bytes], bytes], good: Contents, tmp_path: Path) -> None:
    path = saved(tmp_path, good)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"own\.npz: not an \.npz file, or a damaged one"):
        read_arrays(path)


def larger_than_any_memory(content: bytes) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 6, 6)})
    return header.getvalue() + content[-100:]


def header_of_brackets(content: bytes) -> bytes:
    return content[:8] + (9000).to_bytes(2, "little") + b"(" * 9000


def header_too_long(content: bytes) -> bytes:
    return content[:8] + (20000).to_bytes(2, "little") + b" " * 20000


@pytest.mark.parametrize("damage", [larger_than_any_memory, header_of_brackets, header_too_long])
@pytest.mark.parametrize("array", ["train_images", "note"])
def test_whatever_unpacking_raises_means_that_the_file_is_damaged(
    damage: Callable[[bytes], bytes], array: str, good: Contents, tmp_path: Path
) -> None:
    path = saved(tmp_path, {**good, "note": np.array("")})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[f"{array}.npy"] = damage(members[f"{array}.npy"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=rf"own\.npz: (train: damaged|{array}: expected text) \(.") as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value)


def test_one_class_alone_is_refused(good: Contents, tmp_path: Path) -> None:
    one = {name: 0 * values if name.endswith("labels") else values for name, values in good.items()}
    with pytest.raises(ValueError, match=r"own\.npz: got images of one class, expected at least two classes to tell"):
        read_arrays(saved(tmp_path, one))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"own\.npz: no such file"):
        read_arrays(tmp_path / "own.npz")


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
