"""CIFAR10's binary archive: planes, labels, and every damage by its name."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from official_files import gzipped, tar, write_cifar10

from capsnet.sources import cifar10

ARCHIVE = cifar10.FILES[0].name
ROW = bytes(3073)


def test_the_archive_becomes_two_splits_in_colour(tmp_path: Path) -> None:
    written = write_cifar10(tmp_path)
    arrays = cifar10.read(tmp_path)
    assert arrays.class_names[:2] == ("airplane", "automobile")
    assert arrays.note == ""
    for name, split in (("train", arrays.train), ("test", arrays.test)):
        np.testing.assert_array_equal(split.images, written[f"{name}_images"])
        np.testing.assert_array_equal(split.labels, written[f"{name}_labels"])
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]


def test_a_row_is_label_red_green_blue_each_plane_row_by_row(tmp_path: Path) -> None:
    pixels = np.zeros((3, 32, 32), np.uint8)
    pixels[0], pixels[1, 0], pixels[2, :, 0] = 200, 100, 50
    write_cifar10(tmp_path, test_batch=b"\3" + pixels.tobytes())
    test = cifar10.read(tmp_path).test
    assert test.labels.tolist() == [3]
    assert test.images[0, :, 0, 0].tolist() == [200, 100, 50]
    assert test.images[0, :, 0, 5].tolist() == [200, 100, 0]
    assert test.images[0, :, 5, 0].tolist() == [200, 0, 50]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_batch_3": None}, "no file 'cifar-10-batches-bin/data_batch_3.bin'; it holds cifar-10-batches-bin/data"),
        ({"data_batch_2": ROW[:-1]}, "data_batch_2.bin: got 3072 bytes, expected a multiple of 3073"),
        ({"test_batch": b""}, "test_batch.bin: got 0 bytes, expected a multiple of 3073"),
        ({"test_batch": b"\x0a" + ROW[1:]}, "test_batch.bin: label: got 10, expected 0 to 9"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_refused_by_name(
    changes: dict[str, bytes | None], message: str, tmp_path: Path
) -> None:
    write_cifar10(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"{ARCHIVE}: .*{message}"):
        cifar10.read(tmp_path)


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for name in cifar10.TRAIN + cifar10.TEST:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
            archive.addfile(member)
    with pytest.raises(ValueError, match=r"no file|not a tar archive"):
        cifar10.read(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "not tar", "truncated tar", "empty"])
def test_a_damaged_archive_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / ARCHIVE
    content = path.read_bytes()
    if damage in ("truncated", "not gzip", "empty"):
        path.write_bytes({"truncated": content[: len(content) // 2], "not gzip": b"<html>", "empty": b""}[damage])
    else:
        whole = tar({"cifar-10-batches-bin/data_batch_1.bin": ROW * 4})
        gzipped(path, {"not tar": b"text" * 1000, "truncated tar": whole[:6000]}[damage])
    with pytest.raises(ValueError, match=f"{ARCHIVE}: ") as caught:
        cifar10.read(tmp_path)
    assert "\n" not in str(caught.value)
