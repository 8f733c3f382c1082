"""Digits are found in photographs: on paper with lines, a board, or a sheet on a desk, in shadows and in any ink."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import SCENES, Scene, photograph
from tiny_project import ROOT

import capsnet
from capsnet.data.picture import WRITINGS, FoundDigit, digits
from capsnet.data.sheet import find_sheet
from capsnet.evaluation.recognition import recognise
from capsnet.sources.digits import enlarge
from capsnet.sources.folder import open_picture
from capsnet.training.held_out import hold_out

SIZE = 28
MNIST = ROOT / "data/mnist.npz"
EACH = 20  # photographs of each kind of scene: 380 in all


@pytest.fixture(scope="module")
def originals() -> np.ndarray:
    from sklearn.datasets import load_digits

    return enlarge(load_digits().images[[0, 2, 3, 5]])[:, 0]


@pytest.fixture(scope="module", params=SCENES)
def photographs(request: pytest.FixtureRequest, originals: np.ndarray) -> tuple[str, list[Image.Image]]:
    """A kind of scene, and each of the originals in it."""
    random = np.random.default_rng(0)
    return request.param, [photograph([image], SCENES[request.param], random) for image in originals]


def test_one_digit_is_found_in_every_kind_of_photograph(
    originals: np.ndarray, photographs: tuple[str, list[Image.Image]]
) -> None:
    kind, pictures = photographs
    for place, picture in enumerate(pictures):
        found = digits(picture, WRITINGS["digits"], SIZE)
        assert len(found) == 1 or kind == "stain"  # which may count as another shape
        away = [np.abs(each.image.astype(float) - originals).mean((1, 2)).argmin() for each in found]
        assert place in away


@pytest.mark.parametrize("kind", ["white", "lined", "squared", "blackboard", "pencil on squared paper", "desk"])
def test_nothing_is_found_on_a_page_without_a_digit(kind: str) -> None:
    empty = np.zeros((SIZE, SIZE), np.uint8)
    assert digits(photograph([empty], SCENES[kind], np.random.default_rng(1)), WRITINGS["mnist"], SIZE) == []


def test_a_sheet_is_found_only_where_one_lies_on_a_desk(photographs: tuple[str, list[Image.Image]]) -> None:
    kind, pictures = photographs
    found = [find_sheet(picture.convert("RGB"), 320) is not None for picture in pictures]
    assert found == [bool(SCENES[kind].desk)] * len(pictures)


def test_a_board_is_found_before_a_bright_wall(originals: np.ndarray) -> None:
    scene = Scene(ground=(48, 62, 54), ink=(250, 250, 240), desk="rotated")
    page = photograph([originals[1]], scene, np.random.default_rng(6), desks=[(232, 228, 220)])
    (found,) = digits(page, WRITINGS["digits"], SIZE)
    assert np.abs(found.image.astype(float) - originals).mean((1, 2)).argmin() == 1


def test_the_box_of_a_digit_on_a_rotated_sheet_is_where_its_ink_is(originals: np.ndarray) -> None:
    scene = Scene(ink=(200, 20, 30), desk="rotated")
    page = photograph([originals[1]], scene, np.random.default_rng(7), desks=[(40, 42, 46)])
    (found,) = digits(page, WRITINGS["digits"], SIZE)
    colours = np.asarray(page).astype(int)
    rows, columns = np.nonzero(colours[..., 0] - colours[..., 1] > 90)  # red
    left, top, right, bottom = found.box
    covered = (left <= columns) & (columns < right) & (top <= rows) & (rows < bottom)
    assert covered.mean() > 0.98
    assert (right - left) * (bottom - top) < 2 * np.ptp(rows) * np.ptp(columns)


def test_a_bright_stroke_that_fills_a_dark_picture_is_no_sheet() -> None:
    page = np.full((300, 120), 20, np.uint8)
    page[20:280, 40:80] = 235
    (found,) = digits(Image.fromarray(page), WRITINGS["digits"], SIZE)
    assert found.image.max() == 255
    left, top, right, bottom = found.box
    assert right - left < 60 < 240 < bottom - top


def test_digits_in_a_row_are_found_from_left_to_right(originals: np.ndarray) -> None:
    page = photograph(originals[:3], Scene(lines="lined"), np.random.default_rng(2))
    found = digits(page, WRITINGS["digits"], SIZE)
    assert [np.abs(each.image.astype(float) - originals).mean((1, 2)).argmin() for each in found] == [0, 1, 2]
    lefts = [each.box[0] for each in found]
    assert lefts == sorted(lefts)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_read_however_the_phone_was_held(
    originals: np.ndarray, tmp_path: Path, orientation: int
) -> None:
    page = photograph([originals[1]], SCENES["lined"], np.random.default_rng(3))
    (upright,) = digits(page, WRITINGS["digits"], SIZE)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = page.transpose(undo[orientation]) if orientation in undo else page
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "phone.png", exif=exif)
    (found,) = digits(open_picture(tmp_path / "phone.png").picture, WRITINGS["digits"], SIZE)
    assert found.box == upright.box
    assert np.array_equal(found.image, upright.image)


def answers(images: list[np.ndarray]) -> np.ndarray:
    network = capsnet.load(ROOT / "published/mnist-deconv_bn.safetensors")
    return recognise(network, torch.from_numpy(np.stack(images)), decoded=0).output.lengths.argmax(1).numpy()


def largest(found: list[FoundDigit]) -> np.ndarray:
    boxes = [each.box for each in found]
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    return found[int(np.argmax(areas))].image if found else np.zeros((1, SIZE, SIZE), np.uint8)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not MNIST.is_file(), reason="`dvc repro prepare@mnist` makes data/mnist.npz")
@pytest.mark.usefixtures("one_thread")
def test_photographs_are_read_nearly_as_well_as_the_originals() -> None:
    """At least 95 % of the accuracy on held-out training images for each kind of scene, and 85 % beside a stain."""
    with np.load(MNIST) as arrays:
        images, labels = arrays["train_images"].reshape(-1, SIZE, SIZE), arrays["train_labels"]
    held_out = hold_out(torch.from_numpy(labels).long(), 0.1, 0).validation
    assert held_out is not None
    chosen = held_out.numpy()[:EACH]
    originals, truth = images[chosen], labels[chosen]
    reached = (answers([*originals[:, None]]) == truth).mean()
    random = np.random.default_rng(4)
    read = {
        kind: answers(
            [largest(digits(photograph([image], scene, random), WRITINGS["mnist"], SIZE)) for image in originals]
        )
        for kind, scene in SCENES.items()
    }
    least = {"stain": 0.85}
    accuracies = {kind: (each == truth).mean() for kind, each in read.items()}
    assert {kind: share for kind, share in accuracies.items() if share < least.get(kind, 0.95) * reached} == {}
