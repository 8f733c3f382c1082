"""Where data comes from: the mirror first, its copies never silently, then the official servers; the user's own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_files import WRITERS, gzipped, idx, matrix, served, take_as_official, write_smallnorb
from PIL import Image
from tiny_project import squares, tiny_params, write_params

from capsnet.data.arrays import read_arrays, read_split
from capsnet.sources import mnist, smallnorb
from capsnet.sources.catalogue import OFFICIAL, official
from capsnet.sources.transfer import Unavailable
from pipeline import download, prepare
from pipeline.runtime.prepared import read_manifest

NAMES = [file.name for file in mnist.FILES]


def with_dataset(project: Path, name: str, **entry: Any) -> None:
    params = tiny_params()
    params["datasets"][name] = entry
    write_params(project, params)


@pytest.fixture
def official_mnist(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server, a folder here, with four small files in MNIST's format under MNIST's names."""
    with_dataset(project, "mnist", format="mnist", raw="data/raw/mnist")
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10
    server = project / "server"
    server.mkdir()
    for name, content in zip(NAMES, (images, labels, images, labels), strict=True):
        gzipped(server / name, idx(content))
    take_as_official(mnist, server, monkeypatch)
    monkeypatch.setattr(mnist, "servers", lambda: (str(server),))
    return server


@pytest.fixture
def web(project: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and its address on a server of our own."""
    folder = project / "web"
    folder.mkdir()
    with served(folder) as address:
        yield folder, address


@pytest.fixture
def mirror(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = project / "mirror"
    folder.mkdir()
    monkeypatch.setenv("CAPSNET_MIRROR", str(folder))
    return folder


def raw_files() -> list[str]:
    return sorted(path.name for path in Path("data/raw/mnist").iterdir())


def test_without_a_mirror_the_official_files_come_and_are_prepared(official_mnist: Path) -> None:
    download.main(["mnist"])
    prepare.main(["mnist"])
    manifest = json.loads(Path("data/mnist.json").read_text())
    assert manifest == {
        "dataset": "mnist",
        "source": "data/raw/mnist",
        "note": "",
        "image_size": 28,
        "channels": 1,
        "classes": 10,
        "class_names": list("0123456789"),
        "train": 20,
        "test": 20,
    }


def test_a_mirror_with_the_official_files_is_asked_first(official_mnist: Path, mirror: Path) -> None:
    official_mnist.rename(mirror / "mnist")
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)


def test_a_copy_is_taken_with_a_warning_and_its_note(
    official_mnist: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = squares(9, 0)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(mirror / "mnist.npz", **arrays, note=np.array("resized by somebody"))
    download.main(["mnist"])
    assert raw_files() == ["mnist.npz"]
    assert "warning: mnist: a copy from CAPSNET_MIRROR, not the original files" in capsys.readouterr().err
    prepare.main(["mnist"])
    assert "warning: mnist: resized by somebody" in capsys.readouterr().err
    assert json.loads(Path("data/mnist.json").read_text())["note"] == "resized by somebody"

    np.savez(mirror / "mnist.npz", **arrays)
    download.main(["mnist"])
    prepare.main(["mnist"])
    assert "no note says how it differs" in json.loads(Path("data/mnist.json").read_text())["note"]


@pytest.mark.parametrize(
    "content", [b"<!doctype html><title>Sign in</title>", b"PK\5\6" + bytes(18)], ids=["page", "zip"]
)
def test_a_copy_that_is_none_is_not_taken_and_the_official_files_are(
    official_mnist: Path, mirror: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A portal or a single-page site answers every address with the same page."""
    (mirror / "mnist").mkdir()
    for name in (*(f"mnist/{name}" for name in NAMES), "mnist.npz"):
        (mirror / name).write_bytes(content)
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)
    assert capsys.readouterr().err.startswith("warning: CAPSNET_MIRROR: train-images-idx3-ubyte.gz: not available: ")
    assert not Path(".scratch/download/mnist").exists()
    for path in official_mnist.iterdir():
        path.unlink()
    for name in NAMES:
        Path("data/raw/mnist", name).unlink()
    with pytest.raises(Unavailable):
        download.main(["mnist"])
    assert raw_files() == []


def test_a_copy_of_another_data_set_is_not_taken(official_mnist: Path, mirror: Path) -> None:
    images, labels = np.zeros((22, 20, 20), np.uint8), np.arange(22) % 11
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(mirror / "mnist.npz", **arrays)
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)


def test_a_damaged_copy_that_is_there_is_refused_with_the_way_out(official_mnist: Path) -> None:
    Path("data/raw/mnist").mkdir(parents=True)
    Path("data/raw/mnist/mnist.npz").write_bytes(b"copy")
    with pytest.raises(
        ValueError, match=r"mnist\.npz: not an \.npz file, .*; delete it, and `dvc repro download@mnist`"
    ):
        prepare.main(["mnist"])


def test_a_mirror_that_has_nothing_is_mentioned_and_passed_over(
    official_mnist: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)
    assert "warning: CAPSNET_MIRROR" in capsys.readouterr().err


def test_a_copy_of_an_earlier_day_gives_way_to_the_official_files(official_mnist: Path) -> None:
    Path("data/raw/mnist").mkdir(parents=True)
    Path("data/raw/mnist/mnist.npz").write_bytes(b"")
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)


def test_a_wrong_checksum_in_the_mirror_is_never_taken(official_mnist: Path, mirror: Path) -> None:
    (mirror / "mnist").mkdir()
    for name in NAMES:
        (mirror / "mnist" / name).write_bytes(b"something else")
    download.main(["mnist"])
    for name in NAMES:
        assert Path("data/raw/mnist", name).read_bytes() == (official_mnist / name).read_bytes()


def test_nothing_right_anywhere_names_each_source(official_mnist: Path, mirror: Path) -> None:
    for name in NAMES:
        (official_mnist / name).write_bytes(b"damaged")
    with pytest.raises(Unavailable, match=r"mirror/mnist: no train-images.*server: train-images.*got md5 .*, expected"):
        download.main(["mnist"])
    assert raw_files() == []


def test_without_the_official_files_an_earlier_copy_stays(official_mnist: Path) -> None:
    for name in NAMES:
        (official_mnist / name).unlink()
    Path("data/raw/mnist").mkdir(parents=True)
    Path("data/raw/mnist/mnist.npz").write_bytes(b"copy")
    with pytest.raises(Unavailable):
        download.main(["mnist"])
    assert raw_files() == ["mnist.npz"]


@pytest.mark.parametrize("name", sorted(set(OFFICIAL) - {"digits"}))
def test_official_files_come_over_http_and_are_prepared_with_their_class_names(
    name: str, project: Path, web: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = web
    dataset = official(name)
    WRITERS[name](folder)
    take_as_official(dataset, folder, monkeypatch)
    monkeypatch.setattr(dataset, "servers", lambda: (address,))
    options = {"views": "stereo"} if name == "smallnorb" else {}
    with_dataset(project, name, format=name, raw=f"data/raw/{name}", **options)
    download.main([name])
    prepare.main([name])
    manifest = read_manifest(name)
    assert (manifest.class_names, manifest.note, manifest.train) == (dataset.CLASS_NAMES, "", 20)
    prepared, read = read_arrays(Path(f"data/{name}.npz")), dataset.read(Path(f"data/raw/{name}"))
    np.testing.assert_array_equal(prepared.train.images, read.train.images)
    np.testing.assert_array_equal(prepared.test.labels, read.test.labels)
    assert prepared.test.attributes.keys() == read.test.attributes.keys()


@pytest.mark.parametrize("name", sorted(set(OFFICIAL) - {"digits"}))
def test_files_with_another_checksum_are_refused_by_name(
    name: str, web: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = web
    dataset = official(name)
    WRITERS[name](folder)
    monkeypatch.setattr(dataset, "servers", lambda: (address,))
    first = dataset.FILES[0]
    with pytest.raises(Unavailable, match=rf"{address}: {first.name}: got \d+ bytes, expected {first.size}$"):
        download.main([name])
    size = (folder / first.name).stat().st_size
    monkeypatch.setattr(dataset, "FILES", (first._replace(size=size),))
    with pytest.raises(Unavailable, match=f"{address}: {first.name}: got md5 [0-9a-f]{{32}}, expected {first.md5}"):
        download.main([name])
    assert not list(Path("data/raw", name).iterdir())
    assert not list(Path(".scratch/download", name).iterdir())


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
        "training and 1 test images each; passed over 1 file: train/Thumbs.db\n"
        "fruit: a run on them with batch_size: 8, epochs: 600 takes 600 steps\n"
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
