"""A user's picture becomes what the data set would have made of it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capsnet.data.picture import WRITINGS, Writing, digit, scene, shown
from capsnet.sources import folder
from capsnet.sources.digits import enlarge
from capsnet.sources.folder import open_picture

SIZE = 28


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """Every 90th of scikit-learn's digits, as the data set has them."""
    from sklearn.datasets import load_digits

    return enlarge(load_digits().images[::90])[:, 0]


def on_paper(image: np.ndarray, *, ink: float, light: float, left: int, noise: float = 0.0) -> Image.Image:
    """A digit enlarged tenfold, in dark ink on a sheet that grows brighter to the right by `light` of white."""
    page = np.zeros((400, 520))
    large = Image.fromarray(image).resize((280, 280), Image.Resampling.BICUBIC)
    page[60:340, left : left + 280] = np.asarray(large) / 255
    lit = np.linspace(0.95 - light, 0.95, 520)
    levels = 255 * lit * (1 - ink * page) + np.random.default_rng(0).normal(0, noise, page.shape)
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("ink", "light", "left", "noise"),
    [(0.9, 0.0, 0, 0.0), (0.9, 0.0, 230, 0.0), (0.9, 0.6, 100, 0.0), (0.5, 0.3, 20, 0.0), (0.9, 0.5, 150, 6.0)],
    ids=["bright", "moved", "uneven light", "pale", "noisy"],
)
def test_a_digit_on_paper_comes_back_close_to_the_original(
    digits: np.ndarray, ink: float, light: float, left: int, noise: float
) -> None:
    pages = [on_paper(image, ink=ink, light=light, left=left, noise=noise) for image in digits]
    back = np.stack([digit(page, WRITINGS["digits"], SIZE)[0] for page in pages])
    away = np.abs(back[:, None].astype(float) - digits).mean((2, 3))  # grey levels, from every digit to every original
    assert away.diagonal().mean() < 16
    assert (away.argmin(1) == np.arange(len(digits))).mean() > 0.9


def test_bright_ink_on_dark_paper_is_the_same_digit(digits: np.ndarray) -> None:
    page = on_paper(digits[3], ink=0.9, light=0.2, left=50)
    inverted = Image.fromarray(255 - np.asarray(page))
    pair = [digit(each, WRITINGS["digits"], SIZE).astype(int) for each in (page, inverted)]
    assert np.abs(pair[0] - pair[1]).max() <= 1


def test_an_image_of_the_data_is_taken_as_it_is_and_an_inverted_one_is_not(digits: np.ndarray) -> None:
    for image in digits:
        assert np.array_equal(digit(Image.fromarray(image), WRITINGS["digits"], SIZE)[0], image)
    inverted = digit(Image.fromarray(255 - digits[0]), WRITINGS["digits"], SIZE)[0]
    assert np.median(inverted) == 0
    assert np.abs(inverted.astype(float) - digits[0]).mean() < 25


@pytest.mark.parametrize("by_mass", [True, False])
def test_a_digit_fills_its_box_and_has_its_centre_where_the_data_has_it(by_mass: bool) -> None:
    page = np.zeros((300, 200), np.uint8)
    page[40:240, 20:60] = 255  # an L, whose mass is not in its middle
    page[200:240, 20:120] = 255
    written = digit(Image.fromarray(page), Writing(20, by_mass), SIZE)[0].astype(float)
    rows, columns = (np.flatnonzero(written.any(axis)) for axis in (1, 0))
    assert (len(rows), len(columns)) == (20, 10)
    if by_mass:
        places = [np.average(np.arange(SIZE), weights=written.sum(axis)) for axis in (1, 0)]
        assert places == pytest.approx([14, 14], abs=0.5)  # MNIST's pixel
    else:
        assert (rows[0], columns[0]) == (4, 9)


@pytest.mark.parametrize("sheet", [Image.new("L", (300, 200), 230), Image.new("L", (1, 1), 9)], ids=["paper", "pixel"])
def test_a_sheet_without_ink_is_blank(sheet: Image.Image) -> None:
    with pytest.raises(ValueError, match="blank: got a picture without ink"):
        digit(sheet, WRITINGS["mnist"], SIZE)


@pytest.mark.parametrize("ink", ["black", "white"])
def test_ink_on_a_transparent_ground_is_found_whatever_its_colour(digits: np.ndarray, ink: str) -> None:
    picture = Image.new("RGBA", (280, 280), ink)
    picture.putalpha(Image.fromarray(digits[1]).resize((280, 280)))
    back = digit(picture, WRITINGS["digits"], SIZE)[0]
    assert np.abs(back.astype(float) - digits[1]).mean() < 25


def test_every_mode_gives_the_same_digit(digits: np.ndarray, tmp_path: Path) -> None:
    page = on_paper(digits[2], ink=0.9, light=0.0, left=60)
    expected = digit(page, WRITINGS["digits"], SIZE).astype(int)
    deep = Image.fromarray(np.asarray(page).astype(np.uint16) * 257)
    kinds = {"rgb.png": page.convert("RGB"), "palette.gif": page.convert("P"), "deep.png": deep}
    kinds |= {"rgba.webp": page.convert("RGBA"), "cmyk.jpg": page.convert("CMYK")}
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
        got = digit(open_picture(tmp_path / name).picture, WRITINGS["digits"], SIZE).astype(int)
        assert np.abs(got - expected).mean() < 1, name


def test_a_picture_is_read_the_way_up_that_the_camera_noted(tmp_path: Path) -> None:
    picture = Image.new("L", (40, 20))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned a quarter
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").picture.size == (20, 40)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_becomes_what_prepare_makes_of_it_in_a_folder(tmp_path: Path, channels: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    prepared = folder.load_picture(tmp_path / "a.png", 32, channels).image
    assert np.array_equal(scene(open_picture(tmp_path / "a.png").picture, 32, channels), prepared)


def test_a_picture_stands_for_both_views_of_a_pair() -> None:
    made = scene(Image.radial_gradient("L"), 48, 2)
    assert made.shape == (2, 48, 48)
    assert np.array_equal(made[0], made[1])


def test_what_is_no_picture_or_too_large_a_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.png").write_text("no picture")
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8)).save(file, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(file.getvalue()[:-900])
    Image.new("L", (200, 100)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)
    for name, said in {
        "text.png": "cannot identify image file",
        "cut.jpg": "truncated",
        "large.png": "20000 pixels",
        "missing.png": "No such file",
    }.items():
        with pytest.raises(ValueError, match=said) as caught:
            open_picture(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)


def test_an_image_is_shown_in_colour_or_by_its_first_channel() -> None:
    assert shown(np.ones((3, 4, 4))).mode == "RGB"
    assert shown(np.stack([np.ones((4, 4)), np.zeros((4, 4))])).getpixel((0, 0)) == 255
