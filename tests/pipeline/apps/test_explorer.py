"""What the explorer computes, and how it shows it.

Axes: C channels, H height and width.
"""

import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from capsnet.data.geometry import rotate
from capsnet.explain.coupling import receptive_field
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.layers import PADDINGS
from pipeline.apps.explorer import panels
from pipeline.apps.explorer.answers import Explorer
from pipeline.apps.explorer.view import View, look, moved

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
    where = receptive_field(config)
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
    page = panels.pair(view, "<b>", NAMES) + panels.bars(view.lengths, NAMES)
    page += panels.coupling(view, receptive_field(model.config), NAMES[1])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "labelled <b>&lt;b&gt;" in page


def test_bars_are_as_long_as_their_capsules_and_of_many_the_longest() -> None:
    lengths = torch.arange(20) / 20
    html = panels.bars(lengths, [f"class {number}" for number in range(20)])
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", html)]
    assert widths == pytest.approx([5.0 * number for number in range(20 - panels.MOST_BARS, 20)])
    assert html.count("fill best") == 1


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("decoder", ["none", "fc"])
def test_every_kind_of_network_can_be_shown(tiny_model: ModelConfig, channels: int, decoder: str) -> None:
    model = CapsNet(replace(tiny_model, channels=channels, decoder=decoder)).eval()
    view: View = look(model, image_for(model), 90)
    assert panels.pair(view, "", NAMES).count("<img") == 1 + (decoder != "none")
    assert panels.coupling(view, receptive_field(model.config), "a").count("<rect") == model.config.primary_grid**2


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
        path=tmp_path / "toy/seed-0.safetensors", image=lambda *_: "an image", treatment="picture"
    )
    explorer = Explorer(network, SimpleNamespace(images=torch.zeros(1), labels=torch.zeros(1)))
    Image.new("L", (80, 80)).save(tmp_path / "a.png")
    told: list[str] = []
    monkeypatch.setattr("pipeline.apps.explorer.answers.gr.Warning", told.append)
    assert explorer.uploaded(str(tmp_path / "a.png")).image == "an image"
    assert told == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
    assert explorer.uploaded(str(tmp_path / "a.png")).image == "an image"
    assert told[0].startswith("a.png: Image size (6400 pixels)")

    def decode(path: Path) -> None:
        raise NotImplementedError("<cubes>")

    monkeypatch.setattr(Image, "open", decode)
    with pytest.raises(gr.Error, match=r"a\.png: cannot be read \(NotImplementedError: &lt;cubes&gt;\)"):
        explorer.uploaded(str(tmp_path / "a.png"))
