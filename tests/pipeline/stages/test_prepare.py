"""Official files, data made from them, and the user's own pictures become plain arrays with a manifest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_entries import with_dataset
from official_files import WRITERS, matrix, take_as_official, write_smallnorb
from PIL import Image

from capsnet.data.arrays import read_split
from capsnet.sources import smallnorb
from pipeline import download, prepare
from pipeline.runtime.prepared import read_manifest


def test_a_damaged_official_file_ends_prepare_in_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Path("data/raw/smallnorb")
    raw.mkdir(parents=True)
    write_smallnorb(raw, train_cat=matrix(np.zeros(20, "<i4"), magic=7))
    take_as_official(smallnorb, raw, monkeypatch)
    with_dataset(project, "norb", format="smallnorb", raw=str(raw), views="mono")
    with pytest.raises(
        ValueError, match=r"training-cat\.mat\.gz: magic: got 0x00000007, expected 0x1e3d4c54"
    ) as caught:
        prepare.main(["norb"])
    assert "\n" not in str(caught.value)
    assert not Path("data/norb.npz").exists()


def test_a_copy_of_stereo_pairs_can_be_made_single_and_keeps_its_note_and_attributes(
    project: Path, mirror: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 2, 48, 48), np.uint8)
    labels, instance = np.arange(10) % 5, np.arange(10, dtype=np.uint8)
    halves = {"images": images, "labels": labels, "instance": instance}
    both = {f"{split}_{key}": values for split in ("train", "test") for key, values in halves.items()}
    np.savez(mirror / "smallnorb.npz", **both, note=np.array("from JPEG"))
    download.main(["smallnorb"])
    with_dataset(project, "mono", format="smallnorb", raw="data/raw/smallnorb", views="mono")
    prepare.main(["mono"])
    manifest = read_manifest("mono")
    assert (manifest.note, manifest.channels, manifest.train) == ("from JPEG", 1, 20)
    assert manifest.class_names == smallnorb.CLASS_NAMES
    split = read_split(Path("data/mono.npz"), "test")
    assert split.attributes["instance"].tolist() == sorted([*range(10)] * 2)
    np.testing.assert_array_equal(split.images[1, 0], images[0, 1])


def test_affnist_is_made_from_the_folder_of_mnist(project: Path) -> None:
    raw = Path("data/raw/mnist")
    raw.mkdir(parents=True)
    images = np.zeros((20, 28, 28), np.uint8)
    images[:, 8:20, 10:16] = 255
    WRITERS["mnist"](raw, train_images=images, test_images=images[:3])
    with_dataset(project, "affnist", format="affnist", raw=str(raw), seed=5)
    prepare.main(["affnist"])
    manifest = read_manifest("affnist")
    assert (manifest.image_size, manifest.train, manifest.test) == (40, 20, 3)
    assert "made from MNIST with seed 5" in manifest.note
    before = Path("data/affnist.npz").read_bytes()
    prepare.main(["affnist"])
    assert Path("data/affnist.npz").read_bytes() == before


def own_folder(folder: Path) -> None:
    for split, seed in (("train", 0), ("test", 9)):
        for number, name in enumerate(("apple", "pear")):
            (folder / split / name).mkdir(parents=True)
            image = np.random.default_rng(seed + number).integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(image).save(folder / split / name / "a.png")


def test_a_folder_where_arrays_are_expected_is_called_one(project: Path) -> None:
    own_folder(Path("pictures"))
    with_dataset(project, "fruit", format="npz", raw="pictures")
    with pytest.raises(ValueError, match=r"^pictures: got a folder, expected an \.npz file$"):
        prepare.main(["fruit"])


def test_a_folder_of_pictures_is_prepared_with_the_names_of_its_classes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_folder(Path("pictures"))
    Path("pictures/train/pear/b.png").write_bytes(Path("pictures/train/pear/a.png").read_bytes())
    Path("pictures/train/Thumbs.db").touch()
    with_dataset(project, "fruit", format="folder", raw="pictures", size=32, channels=3)
    prepare.main(["fruit"])
    manifest = read_manifest("fruit")
    assert (manifest.class_names, manifest.image_size, manifest.channels) == (("apple", "pear"), 32, 3)
    assert manifest.note == ""
    said = capsys.readouterr()
    assert "warning: pictures: enlarged to 32 pixels: 5 pictures: train/apple/a.png; " in said.err
    assert said.out == (
        "fruit: 3 training and 2 test images of 32x32 pixels and 3 channels, in 2 classes (apple, pear) of 1 to 2 "
        "training and 1 test images each; ignored 1 file: train/Thumbs.db\n"
        "fruit: suggested settings of a run: batch_size: 8, epochs: 600, which make 600 steps\n"
    )


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_a_test_image_that_is_a_training_image_is_refused_by_name_or_noted(
    kind: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry: dict[str, Any] = {"format": kind, "raw": "own", "size": 24, "channels": 3}
    if kind == "folder":
        own_folder(Path("own"))
        Path("own/test/pear/twin.png").write_bytes(Path("own/train/pear/a.png").read_bytes())
        names = "1 image: test/pear/twin.png = train/pear/a.png"
    else:
        with np.load("squares.npz") as arrays:
            contents = dict(arrays) | {"note": np.array("")}
        contents["test_images"][3] = contents["train_images"][7]
        with Path("own").open("wb") as file:
            np.savez(file, **contents)
        entry = {"format": kind, "raw": "own"}
        names = r"1 image: test_images\[3\] = train_images\[7\]"
    with_dataset(project, "own", **entry)
    with pytest.raises(
        ValueError, match=f"own: test images that are training images too: {names}; .*duplicates: allow"
    ):
        prepare.main(["own"])
    assert not Path("data/own.npz").exists()
    with_dataset(project, "own", **entry, duplicates="allow")
    prepare.main(["own"])
    assert "warning: own: test images that are training images too" in capsys.readouterr().err
    assert read_manifest("own").note.startswith("1 of ")


def test_classes_without_names_are_named_by_their_numbers(project: Path) -> None:
    prepare.main(["squares"])
    assert read_manifest("squares").class_names == ("0", "1", "2")
