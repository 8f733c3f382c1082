"""Where data comes from: the mirror first, its copies never silently, then the official servers."""

import gzip
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from tiny_project import squares, tiny_params, write_params

from capsnet.data import mnist
from capsnet.data.download import File, Unavailable
from pipeline import download, prepare

NAMES = [file.name for file in mnist.FILES]


def idx(values: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return gzip.compress(header + values.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def official(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server, a folder here, with four small files in MNIST's format under MNIST's names."""
    params = tiny_params()
    params["datasets"]["mnist"] = {"format": "mnist", "raw": "data/raw/mnist"}
    write_params(project, params)
    images = np.zeros((20, 28, 28))
    labels = np.arange(20) % 10
    server = project / "server"
    server.mkdir()
    contents = [idx(images), idx(labels), idx(images), idx(labels)]
    for name, content in zip(NAMES, contents, strict=True):
        (server / name).write_bytes(content)
    files = [File(name, hashlib.md5(content).hexdigest()) for name, content in zip(NAMES, contents, strict=True)]
    monkeypatch.setattr(mnist, "FILES", tuple(files))
    monkeypatch.setattr(mnist, "servers", lambda: (str(server),))
    return server


@pytest.fixture
def mirror(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = project / "mirror"
    folder.mkdir()
    monkeypatch.setenv("CAPSNET_MIRROR", str(folder))
    return folder


def raw_files() -> list[str]:
    return sorted(path.name for path in Path("data/raw/mnist").iterdir())


def test_without_a_mirror_the_official_files_come_and_are_prepared(official: Path) -> None:
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
        "train": 20,
        "test": 20,
    }


def test_a_mirror_with_the_official_files_is_asked_first(official: Path, mirror: Path) -> None:
    official.rename(mirror / "mnist")
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)


def test_a_copy_is_taken_with_a_warning_and_its_note(
    official: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
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


def test_a_mirror_that_has_nothing_is_mentioned_and_passed_over(
    official: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)
    assert "warning: CAPSNET_MIRROR" in capsys.readouterr().err


def test_a_copy_of_an_earlier_day_gives_way_to_the_official_files(official: Path) -> None:
    Path("data/raw/mnist").mkdir(parents=True)
    Path("data/raw/mnist/mnist.npz").write_bytes(b"")
    download.main(["mnist"])
    assert raw_files() == sorted(NAMES)


def test_a_wrong_checksum_in_the_mirror_is_never_taken(official: Path, mirror: Path) -> None:
    (mirror / "mnist").mkdir()
    for name in NAMES:
        (mirror / "mnist" / name).write_bytes(b"something else")
    download.main(["mnist"])
    for name in NAMES:
        assert Path("data/raw/mnist", name).read_bytes() == (official / name).read_bytes()


def test_nothing_right_anywhere_names_each_source(official: Path, mirror: Path) -> None:
    for name in NAMES:
        (official / name).write_bytes(b"damaged")
    with pytest.raises(Unavailable, match=r"mirror/mnist: no train-images.*server: train-images.*got md5 .*, expected"):
        download.main(["mnist"])
    assert raw_files() == []
