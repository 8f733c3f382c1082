"""Files that are no data set, or a damaged one: refused in one line that names file and array."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_arrays import Contents, saved

from capsnet.data.arrays import read_arrays

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
    ({"class_names": np.array(["a", "b"])}, "class_names: got 2, expected 3, one per class"),
    ({"class_names": np.array([1, 2, 3])}, r"class_names: got int64 of shape \(3,\), expected a string per class"),
    ({"class_names": np.array("abc")}, r"class_names: got <U3 of shape \(\), expected a string per class"),
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


@pytest.mark.parametrize("shape", [(10**15, 6, 6), (2**62, 2**62), (50, 6, 6)])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_that_claims_more_than_there_is_costs_no_memory(
    shape: tuple[int, ...], compressed: bool, good: Contents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, good)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    members["train_images.npy"] = header.getvalue() + bytes(100)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **o: pytest.fail("memory was asked for"))
    with pytest.raises(ValueError, match=r"own\.npz: train: damaged \(train_images: shape .* does not fit 100 bytes"):
        read_arrays(path)


def test_one_class_alone_is_refused(good: Contents, tmp_path: Path) -> None:
    one = {name: 0 * values if name.endswith("labels") else values for name, values in good.items()}
    with pytest.raises(ValueError, match=r"own\.npz: got images of one class, expected at least two classes to tell"):
        read_arrays(saved(tmp_path, one))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"own\.npz: no such file"):
        read_arrays(tmp_path / "own.npz")
