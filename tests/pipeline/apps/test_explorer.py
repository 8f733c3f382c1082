"""What the explorer computes, and how it shows it.

Axes: C channels, H height and width.
"""

import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from capsnet.data.geometry import rotate
from capsnet.data.picture import FoundDigit
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.layers import PADDINGS
from pipeline.apps.explorer import panels
from pipeline.apps.explorer.answers import Explorer
from pipeline.apps.explorer.effects import LITTLE, effects
from pipeline.apps.explorer.mistakes import Mistake, Mistakes
from pipeline.apps.explorer.view import ChosenImage, View, look, moved
from pipeline.apps.shape_words import WORDS

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("a", "<script>", "c")


@pytest.fixture(params=["tiny_model", "tiny_attention"])
def model(request: pytest.FixtureRequest) -> CapsNet:
    torch.manual_seed(0)
    return CapsNet(request.getfixturevalue(request.param)).eval()


def image_for(model: CapsNet, extra: int = 0) -> np.ndarray:
    size = model.config.image_size + extra
    return np.random.default_rng(0).integers(0, 256, (model.config.channels, size, size), dtype=np.uint8)


def test_a_view_is_what_the_network_makes_of_the_centre_of_the_turned_image(model: CapsNet) -> None:
    image = image_for(model, extra=4)
    view = look(model, image, 30)
    pixels = rotate(torch.from_numpy(image)[None], 30.0)[:, :, 2:-2, 2:-2] / 255
    with torch.no_grad():
        output = model(pixels, with_coupling=True)
    assert torch.equal(view.lengths, output.lengths[0])
    assert view.reconstruction is not None
    assert torch.equal(view.reconstruction, output.reconstruction[0])
    winner = int(output.lengths.argmax())
    assert torch.equal(view.coupling.flatten(), output.coupling[0, :, winner])


def test_a_capsule_moved_by_nothing_is_the_reconstruction_and_moved_it_is_another(model: CapsNet) -> None:
    view = look(model, image_for(model), 0)
    still = moved(model, view, [0.0] * 4)
    assert torch.equal(still, view.reconstruction)
    for dimension in range(4):
        assert not torch.equal(moved(model, view, [0.25 * (dimension == each) for each in range(4)]), still)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("kernel", "stride"), [(9, 2), (5, 3)])
def test_the_grid_says_which_pixels_a_primary_capsule_sees(
    tiny_model: ModelConfig, padding: str, kernel: int, stride: int
) -> None:
    config = replace(tiny_model, padding=padding, primary_kernel=kernel, primary_stride=stride, image_size=32)
    model = CapsNet(config).eval()
    where = config.layout.field
    # A capsule in the middle, whose patch no border cuts off.
    place = config.primary_grid // 2
    images = torch.rand(1, 1, 32, 32, requires_grad=True)
    capsules = model.encoder(images).unflatten(1, (config.primary_types, config.primary_grid, config.primary_grid))
    (gradient,) = torch.autograd.grad(capsules[0, :, place, place].sum(), images)
    seen = gradient[0, 0].abs().sum(0).nonzero().flatten()
    centre = where.centre(place)
    expected = [max(0, centre - (where.size - 1) / 2), min(31, centre + (where.size - 1) / 2)]
    assert [int(seen[0]), int(seen[-1])] == expected


def test_names_of_classes_are_text_and_no_markup(model: CapsNet) -> None:
    view = look(model, image_for(model), 0)._replace(winner=torch.tensor([1]))
    page = panels.pair(view, NAMES) + panels.bars(view.lengths, NAMES)
    page += panels.coupling(view, model.config, NAMES[1])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    page = panels.verdict(NAMES[1], "<i>", "") + panels.verdict(NAMES[1], "<i>", "<u>") + panels.message("<u>")
    page += panels.mistakes([(Mistake(0, 1, 0.5), image_for(model), "<i>", NAMES[1])], 1, 1, 1)
    assert not {"<script>", "<i>", "<u>"} & {*re.findall(r"<\w+>", page)}


def test_bars_are_as_long_as_their_capsules_and_of_many_the_longest() -> None:
    lengths = torch.arange(20) / 20
    html = panels.bars(lengths, [f"class {number}" for number in range(20)])
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", html)]
    assert widths == pytest.approx([5.0 * number for number in range(20 - panels.MOST_BARS, 20)])
    assert html.count("fill best") == 1


@pytest.mark.parametrize(("leaky", "share"), [(False, "0.33"), (True, "0.25")])
def test_an_even_share_counts_the_share_of_no_class_with_leaky_routing(
    tiny_model: ModelConfig, leaky: bool, share: str
) -> None:
    model = CapsNet(replace(tiny_model, leaky_routing=leaky)).eval()
    view = look(model, image_for(model), 0)
    assert f"An even share would be {share}." in panels.coupling(view, model.config, "a")


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("decoder", ["none", "fc"])
def test_every_kind_of_network_can_be_shown(tiny_model: ModelConfig, channels: int, decoder: str) -> None:
    model = CapsNet(replace(tiny_model, channels=channels, decoder=decoder)).eval()
    view: View = look(model, image_for(model), 90)
    assert panels.pair(view, NAMES).count("<img") == 1 + (decoder != "none")
    assert panels.coupling(view, model.config, "a").count("<rect") == model.config.primary_grid**2


def test_a_slider_of_the_full_network_is_computed_in_less_than_a_tenth_of_a_second(tiny_model: ModelConfig) -> None:
    model = CapsNet(replace(tiny_model, image_size=28, classes=10, class_dim=16, decoder="deconv", decoder_channels=32))
    view = look(model.eval(), image_for(model), 0)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        panels.figure(moved(model, view, [0.1] * 16), "moved", "")
        took.append(time.perf_counter() - start)
    assert min(took) < 0.1


def test_a_file_whose_decoder_fails_is_named_on_the_page_and_what_is_odd_about_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = SimpleNamespace(
        path=tmp_path / "toy/seed-0.safetensors",
        images=lambda *_: [FoundDigit(np.zeros((1, 4, 4), np.uint8), (0, 0, 4, 4))],
        treatment="picture",
        model=None,
    )
    explorer = Explorer(network, SimpleNamespace(images=torch.zeros(1), labels=torch.zeros(1)))
    Image.new("L", (80, 80)).save(tmp_path / "a.png")
    told: list[str] = []
    monkeypatch.setattr("pipeline.apps.explorer.answers.gr.Warning", told.append)
    assert isinstance(explorer.uploaded(str(tmp_path / "a.png")), ChosenImage)
    assert told == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    assert isinstance(explorer.uploaded(str(tmp_path / "a.png")), ChosenImage)
    assert told[0].startswith("a.png: Image size (6400 pixels)")

    def decode(path: Path) -> None:
        raise NotImplementedError("<cubes>")

    monkeypatch.setattr(Image, "open", decode)
    refused = explorer.uploaded(str(tmp_path / "a.png"))
    assert refused == "a.png: cannot be read (NotImplementedError: <cubes>)"


def test_an_answer_is_marked_as_right_wrong_or_unsure() -> None:
    assert "verdict right" in panels.verdict("3", "3", "")
    wrong = panels.verdict("3", "5", "")
    assert "verdict wrong" in wrong
    assert "it says <b>3</b>, but this is <b>5</b>" in wrong
    unsure = panels.verdict("3", "5", "its capsule is short")
    assert "verdict unsure" in unsure
    assert "its capsule is short. It would say <b>3</b>. This is <b>5</b>." in unsure
    assert panels.verdict("3", "", "") == '<p class="verdict">It says <b>3</b>.</p>'


def test_mistakes_are_found_once_and_the_surest_stands_first(model: CapsNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.apps.explorer.mistakes.BATCH", 4)
    images = torch.from_numpy(np.stack([image_for(model, extra)[:, :20, :20] for extra in range(10)]))
    with torch.no_grad():
        longest, said = model(images / 255).lengths.max(1)
    labels = torch.where(torch.arange(10) < 5, said, (said + 1) % model.config.classes)
    search = Mistakes(model, images, labels)
    assert next(search.search()) == 4  # somebody leaves the page
    assert [*search.search()] == [8, 10]
    assert [*search.search()] == []
    assert {mistake.image for mistake in search.found} == set(range(5, 10))
    lengths = [mistake.length for mistake in search.found]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths == pytest.approx(sorted(longest[5:].tolist(), reverse=True), abs=1e-6)


class Stretching(torch.nn.Module):
    """A decoder whose image grows to the right with dimension 0, and does not change with the others."""

    def forward(self, capsules: torch.Tensor) -> torch.Tensor:
        width = 10 + 20 * capsules.unflatten(1, (-1, 4)).sum(1)[:, 0]
        bar = (width[:, None] - torch.arange(20)).clamp(0, 1)
        return bar[:, None, None] * (torch.arange(20) > 5)[:, None]


def test_a_slider_is_named_after_what_it_does_to_the_shape(tiny_model: ModelConfig) -> None:
    torch.manual_seed(0)
    model = CapsNet(replace(tiny_model, decoder="fc")).eval()
    model.decoder = Stretching()
    bars = torch.zeros(6, 1, 20, 20, dtype=torch.uint8)
    for number in range(6):
        bars[number, 0, 4:16, 4 : 12 + number % 2] = 255
    names = effects(model, bars, 1, 0.25, 4, 3)
    assert names[1:] == [LITTLE] * 3
    assert names[0] in {f"{low} → {high}" for low, high in WORDS.values()}
    assert names[0] in {"narrower → wider", "less ink → more ink", "thinner → thicker"}
