"""A folder of pictures: what is read, in which order, and every refusal by the name of the file."""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from capsnet.sources import folder

CLASSES = ("cat", "dog", "newt")


def noise(size: tuple[int, int] = (8, 8), channels: int = 3, seed: int = 0) -> Image.Image:
    shape = (*size[::-1], channels) if channels > 1 else size[::-1]
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Three classes, two training pictures and one test picture each."""
    for number, (split, name) in enumerate([(split, name) for split in ("train", "test") for name in CLASSES]):
        (tmp_path / split / name).mkdir(parents=True)
        for index in range(2 if split == "train" else 1):
            noise(seed=10 * number + index).save(tmp_path / split / name / f"{index}.png")
    return tmp_path


def test_labels_follow_the_sorted_names_of_the_folders_and_images_those_of_the_files(own: Path) -> None:
    (own / "train" / "cat" / "0.png").rename(own / "train" / "cat" / "z.png")
    read = folder.read(own, 8, 3)
    assert read.arrays.class_names == CLASSES
    assert read.arrays.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert read.arrays.test.labels.tolist() == [0, 1, 2]
    assert read.files["train"][:3] == ["train/cat/1.png", "train/cat/z.png", "train/dog/0.png"]
    assert read.warnings == []
    for name, split in (("train", read.arrays.train), ("test", read.arrays.test)):
        for file, image in zip(read.files[name], split.images, strict=True):
            np.testing.assert_array_equal(image.transpose(1, 2, 0), np.asarray(Image.open(own / file)))


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "jpg", "tif", "webp", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_format_becomes_grey_or_colour_of_the_size(suffix: str, channels: int, own: Path) -> None:
    noise((12, 12), 1).save(own / "test" / "dog" / f"more.{suffix}")
    read = folder.read(own, 6, channels)
    assert read.arrays.test.images.shape == (4, channels, 6, 6)
    assert len(np.unique(read.arrays.test.images[read.files["test"].index(f"test/dog/more.{suffix}")])) > 9


@pytest.mark.parametrize("classes", [2, 30])
def test_any_number_of_classes_is_read(classes: int, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for number in range(classes):
            (tmp_path / split / f"{number:02}").mkdir(parents=True)
            noise(seed=number).save(tmp_path / split / f"{number:02}" / "only.png")
    assert folder.read(tmp_path, 8, 1).arrays.classes == classes


def test_one_class_alone_is_refused(own: Path) -> None:
    for name in CLASSES[1:]:
        for split in ("train", "test"):
            shutil.rmtree(own / split / name)
    with pytest.raises(ValueError, match=f"{own}: got images of one class, expected at least two classes to tell"):
        folder.read(own, 8, 3)


def test_hidden_files_and_what_systems_leave_are_passed_over_and_named(own: Path) -> None:
    left = [".DS_Store", "Thumbs.db", "__MACOSX", "cat/._0.png", "cat/.directory", "cat/THUMBS.DB", "cat/desktop.ini"]
    for name in left:
        if name.isupper() and "/" not in name:
            (own / "train" / name / "cat").mkdir(parents=True)
        else:
            (own / "train" / name).write_bytes(b"\0")
    read = folder.read(own, 8, 3)
    assert len(read.arrays.train.labels) == 6
    assert sorted(read.passed_over) == sorted(f"train/{name}" for name in left)
    assert read.warnings == []


def test_what_pillow_warns_of_is_told_with_the_file(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    for name in ("dog", "newt"):
        noise((80, 80)).save(own / "train" / name / "large.png")
    (told,) = folder.read(own, 8, 3).warnings
    assert told.startswith(f"{own}: read with a warning: 2 pictures: train/dog/large.png: Image size (6400 pixels)")
    assert "; train/newt/large.png: " in told
    assert "\n" not in told


def test_a_picture_that_is_not_square_is_cut_to_its_middle_and_warned_of(own: Path) -> None:
    wide = noise((14, 8), seed=5)
    wide.save(own / "train" / "newt" / "wide.png")
    read = folder.read(own, 8, 3)
    assert read.warnings == [f"{own}: cut to their middle square: 1 picture: train/newt/wide.png"]
    np.testing.assert_array_equal(read.arrays.train.images[-1].transpose(1, 2, 0), np.asarray(wide)[:, 3:11])


def test_a_picture_smaller_than_the_size_is_enlarged_and_warned_of(own: Path) -> None:
    noise((5, 5)).save(own / "train" / "newt" / "small.png")
    assert folder.read(own, 8, 3).warnings == [f"{own}: enlarged to 8 pixels: 1 picture: train/newt/small.png"]


def test_transparency_is_laid_on_black(own: Path) -> None:
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[:4, :, 3] = 0
    pixels[7, :, 3] = 51
    Image.fromarray(pixels).save(own / "train" / "newt" / "clear.png")
    rows = folder.read(own, 8, 1).arrays.train.images[-1, 0, :, 0]
    assert rows.tolist() == [0] * 4 + [255] * 3 + [51]


def test_a_picture_that_a_camera_marked_as_turned_is_upright(own: Path) -> None:
    turned = noise(seed=8)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise to see it upright
    turned.save(own / "train" / "newt" / "turned.png", exif=exif)
    upright = folder.read(own, 8, 3).arrays.train.images[-1].transpose(1, 2, 0)
    np.testing.assert_array_equal(upright, np.rot90(np.asarray(turned), -1))


def truncated(path: Path) -> None:
    noise((64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:3000])


def no_utf8(path: Path) -> None:
    Path(os.fsdecode(os.fsencode(path.parents[1]) + b"/caf\xe9")).mkdir()


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("text"), "train/dog/x.png: cannot identify image file$"),
        (lambda path: path.write_bytes(b""), "train/dog/x.png: cannot identify image file$"),
        (truncated, "train/dog/x.png: .*truncated"),
        (sixteen_bits, "train/dog/x.png: got mode I;16, expected 8 bits a channel"),
        (lambda path: path.mkdir(), "train/dog/x.png: not a file, expected pictures"),
        (no_utf8, r"train/caf\\xe9: got a name that is not UTF-8, expected the name of a class$"),
        (
            lambda path: (path.parent.parent / "x.png").touch(),
            "train/x.png: got a file, expected a folder for each class",
        ),
        (lambda path: (path.parent.parent / "empty").mkdir(), "train/empty: no picture; test/empty: no picture"),
        (lambda path: (path.parents[2] / "test" / "dog" / "0.png").unlink(), "test/dog: no picture"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(damage: Callable[[Path], None], message: str, own: Path) -> None:
    damage(own / "train" / "dog" / "x.png")
    with pytest.raises(ValueError, match=rf"{own}: \d problems?: {message}"):
        folder.read(own, 8, 3)


@pytest.mark.parametrize(
    "raised",
    [RuntimeError, NotImplementedError("cubic\nmaps"), IndexError("out of range"), AttributeError, MemoryError],
    ids=repr,
)
def test_whatever_a_decoder_raises_means_that_the_file_cannot_be_read(
    raised: Exception | type[Exception], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(path: Path) -> None:
        raise raised

    monkeypatch.setattr(Image, "open", decode)
    told = f"{getattr(raised, '__name__', type(raised).__name__)}{': ' * isinstance(raised, Exception)}"
    with pytest.raises(ValueError, match=rf"9 problems: train/cat/0.png: cannot be read \({told}.*\); ") as caught:
        folder.read(own, 8, 3)
    assert "\n" not in str(caught.value)


WRITTEN = [
    *("AVIF", "BLP", "BMP", "DDS", "DIB", "EPS", "GIF", "ICNS", "ICO", "IM", "JPEG", "JPEG2000", "MPO", "MSP", "PCX"),
    *("PNG", "PPM", "QOI", "SGI", "SPIDER", "TGA", "TIFF", "WEBP", "XBM"),
]


@pytest.mark.parametrize("format", WRITTEN)
def test_a_damaged_file_of_any_format_is_read_or_refused_in_one_line(format: str, tmp_path: Path) -> None:
    """Whole, cut off, and with bytes changed at the front, where the header is, and anywhere."""
    Image.init()
    if format not in Image.SAVE or (format == "AVIF" and not features.check("avif")):
        pytest.skip(f"this Pillow writes no {format}")
    mode = {"SPIDER": "F", "MSP": "1", "XBM": "1", "BLP": "P"}.get(format, "RGB")
    whole = io.BytesIO()
    noise((64, 64)).convert(mode).save(whole, format)
    content = whole.getvalue()
    generator = np.random.default_rng(0)
    damaged = [content[: int(share * len(content))] for share in (0.0, 0.1, 0.5, 0.9, 0.99)]
    for first in [64] * 12 + [len(content)] * 12:
        changed = bytearray(content)
        for place in generator.integers(0, min(first, len(content)), 3):
            changed[place] = generator.integers(256)
        damaged.append(bytes(changed))
    refused: list[str] = []
    for number, bad in enumerate(damaged):
        path = tmp_path / f"{number}.{format.lower()}"
        path.write_bytes(bad)
        try:
            folder.load_picture(path, 8, 3)
        except ValueError as error:
            refused.append(str(error))
    assert refused
    assert all(refused)
    assert not [said for said in refused if "\n" in said or str(tmp_path) in said]


def test_many_problems_are_counted_and_ten_of_them_named(own: Path) -> None:
    for number in range(13):
        (own / "train" / "cat" / f"bad{number:02}.png").write_text("text")
    with pytest.raises(ValueError, match=r"13 problems: train/cat/bad00.png.*bad09.png: [^;]*; and 3 more$") as caught:
        folder.read(own, 8, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_without_a_split_is_refused(split: str, own: Path) -> None:
    (own / split).rename(own / "other")
    with pytest.raises(ValueError, match=f"no folder '{split}'; expected train/<class>/ and test/<class>/"):
        folder.read(own, 8, 3)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(ValueError, match="train: got no images, expected at least one"):
        folder.read(tmp_path, 8, 3)
