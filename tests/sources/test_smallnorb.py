"""SmallNORB: the binary matrix format field by field, halving, stereo pairs and single images."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import gzipped, matrix, take_as_official, write_smallnorb

from capsnet.data.arrays import Arrays
from capsnet.sources import smallnorb
from capsnet.training.held_out import hold_out

DAT, CAT, INFO = (file.name for file in smallnorb.FILES[:3])


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    write_smallnorb(tmp_path)
    take_as_official(smallnorb, tmp_path, monkeypatch)
    return smallnorb.read(tmp_path)


def test_the_official_class_file_can_be_written_from_memory(tmp_path: Path) -> None:
    """Its 24,300 labels go round the five classes: the one official file whose bytes are known without it."""
    content = matrix(np.arange(24300, dtype="<i4") % 5)
    assert hashlib.md5(content).hexdigest() == smallnorb.UNPACKED[CAT]
    labels = smallnorb.read_matrix(gzipped(tmp_path / CAT, content), smallnorb.INTEGERS, ())
    assert labels[:7].tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert labels.shape == (24300,)


def test_the_six_files_become_stereo_pairs_with_their_attributes(pairs: Arrays, tmp_path: Path) -> None:
    written = write_smallnorb(tmp_path)
    assert pairs.class_names == ("animal", "human", "airplane", "truck", "car")
    for name, split in (("train", pairs.train), ("test", pairs.test)):
        np.testing.assert_array_equal(split.images, smallnorb.halve(written[f"{name}_dat"]))
        np.testing.assert_array_equal(split.labels, written[f"{name}_cat"])
        assert list(split.attributes) == ["instance", "elevation", "azimuth", "lighting"]
        columns = written[f"{name}_info"].copy()
        columns[:, 0] += 10 * split.labels
        np.testing.assert_array_equal(np.stack(list(split.attributes.values()), 1), columns)


def test_a_tenth_of_the_toys_is_a_tenth_of_the_images_held_out_for_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five kinds of toys, numbered 4, 6, 7, 8, 9 in each of them: of the 25 toys two are held out."""
    toys = np.array([(label, number) for label in range(5) for number in (4, 6, 7, 8, 9)], "<i4").repeat(6, 0)
    columns = np.zeros((len(toys), 4), "<i4")
    columns[:, 0], columns[:, 3] = toys[:, 1], np.arange(len(toys)) % 6
    images = np.zeros((len(toys), 2, 96, 96), np.uint8)
    write_smallnorb(tmp_path, train_dat=images, train_cat=toys[:, 0].copy(), train_info=columns)
    take_as_official(smallnorb, tmp_path, monkeypatch)
    split = smallnorb.read(tmp_path).train
    groups = torch.from_numpy(split.attributes["instance"])
    training, validation = hold_out(torch.from_numpy(split.labels), 0.1, 0, groups)
    assert validation is not None
    assert (len(training), len(validation)) == (23 * 6, 2 * 6)
    held_out, trained_on = ({tuple(toys[place]) for place in places.tolist()} for places in (validation, training))
    assert len(held_out) == 2
    assert not held_out & trained_on


def test_a_matrix_is_read_in_blocks_to_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smallnorb, "BLOCK", 3)
    written = write_smallnorb(tmp_path)
    take_as_official(smallnorb, tmp_path, monkeypatch)
    seen = []
    rows = smallnorb.read_matrix(
        tmp_path / DAT, smallnorb.BYTES, (2, 96, 96), lambda b: seen.append(len(b)) or b.copy()
    )
    np.testing.assert_array_equal(rows, written["train_dat"])
    assert seen == [3] * 6 + [2]


def test_halving_is_antialiased_bilinear_interpolation_to_the_nearest_level() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 96, 96), np.uint8)
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(images).double(), size=(48, 48), mode="bilinear", antialias=True
    )
    assert np.abs(smallnorb.halve(images) - exact.numpy()).max() <= 0.5 + 1e-9


def test_halving_keeps_an_even_image_and_rounds_halves_up() -> None:
    even = np.full((1, 2, 6, 6), 255, np.uint8)
    np.testing.assert_array_equal(smallnorb.halve(even), even[:, :, :3, :3])
    one = np.zeros((1, 2, 6, 6), np.uint8)
    one[0, 0, 2, 2] = 32
    # (1, 3, 3, 1) / 8 along each axis inside, (3, 3, 1) / 7 at the border.
    expected = [[32 / 49, 32 * 3 / 56, 0], [32 * 3 / 56, 32 * 9 / 64, 0], [0, 0, 0]]
    np.testing.assert_array_equal(smallnorb.halve(one)[0, 0], np.floor(np.array(expected) + 0.5))


def test_single_images_are_left_before_right_with_the_labels_of_their_pair(pairs: Arrays) -> None:
    single = smallnorb.mono(pairs)
    assert single.class_names == pairs.class_names
    for pair, image in ((pairs.train, single.train), (pairs.test, single.test)):
        assert image.images.shape == (2 * len(pair.labels), 1, 48, 48)
        for view in (0, 1):
            np.testing.assert_array_equal(image.images[view::2, 0], pair.images[:, view])
            np.testing.assert_array_equal(image.labels[view::2], pair.labels)
            np.testing.assert_array_equal(image.attributes["azimuth"][view::2], pair.attributes["azimuth"])
            assert set(image.attributes["view"][view::2]) == {view}


def test_only_pairs_can_be_made_single(pairs: Arrays) -> None:
    with pytest.raises(ValueError, match="views: got 1, expected 2"):
        smallnorb.mono(smallnorb.mono(pairs))


IMAGES = np.zeros((20, 2, 96, 96), np.uint8)
LABELS = np.zeros(20, "<i4")
COLUMNS = np.zeros((20, 4), "<i4")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_dat", matrix(IMAGES, 0x1E3D4C54), f"{DAT}: magic: got 0x1e3d4c54, expected 0x1e3d4c55"),
        ("train_cat", matrix(LABELS, 0x1E3D4C55), f"{CAT}: magic: got 0x1e3d4c55, expected 0x1e3d4c54"),
        ("train_cat", b"<html>" * 9, f"{CAT}: magic: got 0x6d74683c, expected 0x1e3d4c54"),
        ("train_cat", b"", f"{CAT}: header: got 0 bytes, expected 20"),
        ("train_dat", matrix(IMAGES)[:23], f"{DAT}: header: got 23 bytes, expected 24"),
        ("train_dat", matrix(IMAGES[:, 0]), f"{DAT}: ndim: got 3, expected 4"),
        ("train_info", matrix(LABELS), f"{INFO}: ndim: got 1, expected 2"),
        ("train_cat", matrix(LABELS, sizes=(0, 1, 1)), rf"{CAT}: dim\[0\]: got 0, expected at least 1"),
        ("train_cat", matrix(LABELS, sizes=(20, 1, 7)), rf"{CAT}: dim\[2\]: got 7, expected 1"),
        ("train_info", matrix(COLUMNS[:, :3]), rf"{INFO}: dim\[1\]: got 3, expected 4"),
        ("train_info", matrix(COLUMNS, sizes=(20, 4, 0)), rf"{INFO}: dim\[2\]: got 0, expected 1"),
        ("train_dat", matrix(IMAGES[:, :1]), rf"{DAT}: dim\[1\]: got 1, expected 2"),
        ("train_dat", matrix(IMAGES[..., :95]), rf"{DAT}: dim\[3\]: got 95, expected 96"),
        (
            "train_dat",
            matrix(IMAGES)[:-1],
            rf"{DAT}: data: got 368639 bytes, expected 368640 for 20 rows of \(2, 96, 96\)",
        ),
        ("train_cat", matrix(LABELS) + b"\0", f"{CAT}: data: got more than the 80 bytes"),
        ("train_cat", matrix(LABELS[:-1]), rf"{CAT}: dim\[0\]: got 19, expected 20 as in {DAT}"),
        ("train_info", matrix(COLUMNS[:-1]), rf"{INFO}: dim\[0\]: got 19, expected 20 as in {DAT}"),
        ("train_cat", matrix(LABELS + 5), f"{CAT}: class: got 5, expected 0 to 4"),
        ("train_cat", matrix(LABELS - 1), f"{CAT}: class: got -1, expected 0 to 4"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_file_and_field(
    name: str, content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_smallnorb(tmp_path, **{name: content})
    take_as_official(smallnorb, tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=message):
        smallnorb.read(tmp_path)


@pytest.mark.parametrize("column", range(4))
def test_an_attribute_out_of_range_is_named(column: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, highest = list(smallnorb.ATTRIBUTES.items())[column]
    columns = COLUMNS.copy()
    columns[3, column] = highest + 1
    write_smallnorb(tmp_path, train_info=columns)
    take_as_official(smallnorb, tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=f"{INFO}: {name}: got {highest + 1}, expected 0 to {highest}"):
        smallnorb.read(tmp_path)


def test_other_content_in_the_right_format_is_refused_by_its_checksum(tmp_path: Path) -> None:
    write_smallnorb(tmp_path)
    with pytest.raises(ValueError, match=f"{DAT}: unpacked content: got md5 .*, expected 8138a09.*; delete it"):
        smallnorb.read(tmp_path)


def test_a_truncated_gzip_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write_smallnorb(tmp_path)
    path = tmp_path / DAT
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{DAT}: truncated or damaged gzip .*; delete it and download again"):
        smallnorb.read(tmp_path)
