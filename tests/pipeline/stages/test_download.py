"""Official files come from the mirror first, then from the official servers; a copy is never taken silently."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dataset_entries import with_dataset
from official_files import WRITERS, gzipped, idx, served, take_as_official
from tiny_project import squares

from capsnet.data.arrays import read_arrays
from capsnet.sources import mnist
from capsnet.sources.catalogue import OFFICIAL, official, read_copy
from capsnet.sources.transfer import Unavailable
from pipeline import download, prepare
from pipeline.runtime.prepared import read_manifest

NAMES = [file.name for file in mnist.FILES]


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


def test_a_copy_of_a_data_set_with_other_classes_is_refused(mirror: Path) -> None:
    images, labels = squares(24, 0)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    names = np.array([f"letter {number}" for number in range(12)])
    np.savez(mirror / "mnist.npz", **arrays | {"train_labels": np.arange(24) % 12}, class_names=names)
    with pytest.raises(ValueError, match=r"mnist\.npz: got 12 classes, expected those of mnist: 10"):
        read_copy("mnist", mirror / "mnist.npz")


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
        ValueError, match=r"mnist\.npz: not an \.npz file, .*; delete it, then `dvc repro download@mnist`"
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
