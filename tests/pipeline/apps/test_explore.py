"""The explorer's page, served by a real process: through its API, and in a browser."""

import os
import re
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import CHROMIUM, NO_CHROMIUM, BrowserPage, browser
from PIL import Image
from servers import free_port, serving
from tiny_project import ROOT, make_project

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline import prepare
from pipeline.apps import explore
from pipeline.apps.network import find_model, open_network
from pipeline.runtime.prepared import read_prepared

DIM = 4
ZEROS = [0.0] * DIM
PATIENCE = 120


@pytest.fixture(scope="module")
def shared(tiny_model: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared project with two networks: with a decoder, and without. Only to be looked at."""
    folder = make_project(tmp_path_factory.mktemp("explored"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare.main(["squares"])
    for name, decoder in (("toy", "fc"), ("bare", "none")):
        torch.manual_seed(0)
        facts = {"settings": {"dataset": "squares", "crop": 0}}
        save_model(folder / f"models/{name}/seed-0.safetensors", CapsNet(replace(tiny_model, decoder=decoder)), facts)
    return folder


@pytest.fixture
def toy(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project; the working directory is its folder."""
    folder = shutil.copytree(shared, tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_that_does_not_exist_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match=rf"--port: got {port}, expected 1 to 65535"):
        explore.main(["toy", "--port", port])


def serve(folder: Path, run: str) -> Iterator[str]:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipeline.apps.explore", run, "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with serving(command, f"{address}/config", PATIENCE, cwd=folder, env=environment):
        yield address


@pytest.fixture(scope="module")
def server(shared: Path) -> Iterator[str]:
    """One for all tests: each visitor has a page of its own."""
    yield from serve(shared, "toy")


@pytest.fixture
def bare_server(shared: Path) -> Iterator[str]:
    yield from serve(shared, "bare")


def drawn(html: str) -> str:
    found = re.search(r"base64,([^\"]+)", html)
    assert found is not None
    return found.group(1)


@pytest.mark.slow
def test_the_api_looks_moves_and_refuses(server: str, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(server, verbose=False)
    took = []
    for number in range(10):
        start = time.perf_counter()
        client.predict(number / 40, 0, 0, 0, api_name="/move")
        took.append(time.perf_counter() - start)
    # 0.08 s on two busy cores, nearly all of it the way there and back; the very first, too.
    assert max(took[0], statistics.median(took)) < 0.5

    pair, bars, maps, still, *_ = client.predict("2", 1, 0, api_name="/test_image")
    assert "verdict" in pair
    assert bars.count('class="track"') == 3
    assert maps.count("<rect") == 4
    other = client.predict(0.25, 0, 0, 0, api_name="/move")
    assert drawn(other) != drawn(still)
    assert "moved" in other
    assert drawn(client.predict(api_name="/reset")[-1]) == drawn(still)

    turned, *_ = client.predict(90, *ZEROS, api_name="/turn")
    assert drawn(turned) != drawn(pair)
    further, again, *_ = client.predict(90, *ZEROS, api_name="/turn_on")
    assert further == 95
    assert drawn(again) != drawn(turned)
    number, *_ = client.predict("2", 0, api_name="/random_image")
    assert number >= 1
    assert "test images are wrong" in client.predict(api_name="/mistakes")

    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "own.png")
    own, *_ = client.predict(handle_file(tmp_path / "own.png"), 0, api_name="/upload")
    assert re.search(r'<p class="verdict( unsure)?">.* says? <b>', own), "neither right nor wrong"
    assert "this is" not in own.lower()
    (tmp_path / "text.png").write_text("no picture")
    refused, *others = client.predict(handle_file(tmp_path / "text.png"), 0, api_name="/upload")
    assert "text.png: cannot identify image file" in refused
    assert others[:3] == ["", "", ""]  # nothing stays of the picture before
    assert client.predict(0.25, 0, 0, 0, api_name="/move") == ""


def drag(page: BrowserPage, *points: tuple[float, float]) -> None:
    """Press the mouse at the first point, and release it at the last."""
    for number, (x, y) in enumerate(points):
        kind = "mouseMoved" if number else "mousePressed"
        page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
    page.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)


def choose_tab(page: BrowserPage, name: str) -> None:
    page.evaluate(f"[...document.querySelectorAll('button[role=tab]')].find(e => e.innerText == '{name}').click()")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_on_a_phone_the_picture_stays_in_view_while_its_sliders_are_moved(server: str) -> None:
    with browser() as chromium:
        page = chromium.open(server, width=360, height=500)
        page.wait_for("document.querySelectorAll('.moves input[type=range]').length == 4")
        # It is sticky, and no element around it hides what overflows, which would make the page scroll it away.
        page.wait_for("getComputedStyle(document.querySelector('.stays')).position == 'sticky'")
        page.wait_for(
            "(() => { let around = document.querySelector('.stays').parentElement;"
            "while (around != document.body && getComputedStyle(around).overflow == 'visible')"
            "around = around.parentElement; return around == document.body })()"
        )
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        # All ways to choose an image are seen, and no label of a slider lies above the picture.
        names = "[...document.querySelectorAll('button[role=tab]')]"
        seen = f"{names}.filter(e => e.checkVisibility({{visibilityProperty: true}})).map(e => e.innerText).join()"
        page.wait_for(f"{seen} == 'Test,Mistakes,Draw,Upload'")
        page.evaluate("[...document.querySelectorAll('.moves')].at(-1).scrollIntoView({block: 'end'})")
        page.wait_for(
            "(r => document.elementFromPoint(r.x + 30, r.y + r.height / 2).closest('.stays') != null)"
            "(document.querySelector('.stays').getBoundingClientRect())"
        )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_the_page_works_in_a_browser_and_asks_nobody_else(server: str) -> None:
    with browser() as chromium:
        page = chromium.open(server, width=1400, height=1200)
        page.wait_for("document.querySelectorAll('.bars .fill').length == 3")
        page.wait_for("document.querySelectorAll('.moves input[type=range]').length == 4")
        image = "document.querySelector('img[alt=\"{}\"]').src".format
        still = page.evaluate(image("moved capsule"))
        page.evaluate(
            "(() => { const slider = document.querySelector('.moves input[type=range]'); slider.value = 0.25;"
            "slider.dispatchEvent(new Event('input', {bubbles: true})) })()"
        )
        page.wait_for(f"{image('moved capsule')} != {still!r}")
        choose_tab(page, "Draw")
        page.wait_for("document.querySelector('.verdict').innerText == 'Nothing is drawn yet.'")
        assert page.evaluate("document.querySelectorAll('.bars, img').length") == 0
        # The next image is shown with all sliders at zero.
        page.wait_for("[...document.querySelectorAll('.moves input[type=range]')].every(slider => slider.value == 0)")
        page.wait_for("(document.querySelector('canvas') || {offsetWidth: 0}).offsetWidth > 100")
        x, y = page.evaluate(
            "(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector('canvas').getBoundingClientRect())"
        )
        before = len(page.requests)
        drag(page, *((x - 40 + step, y - 30 * (step % 2)) for step in range(80)))
        page.wait_for(f"Boolean({image('input').replace('.src', '')})")
        assert len([url for url in page.requests[before:] if "/queue/join" in url]) == 1
        choose_tab(page, "Mistakes")
        page.wait_for("document.querySelector('.verdict').innerText.startsWith('Choose one')")
        page.wait_for("document.querySelectorAll('.mistakes button').length > 0")
        page.evaluate(
            "(() => { const angle = [...document.querySelectorAll('input[type=range]')].find(e => e.max == 360);"
            "angle.value = 90; angle.dispatchEvent(new Event('input', {bubbles: true})) })()"
        )
        page.evaluate("document.querySelector('.mistakes button').click()")
        page.wait_for(f"Boolean({image('input').replace('.src', '')})")
        # A mistake is shown as it was made: upright.
        page.wait_for("[...document.querySelectorAll('input[type=range]')].find(e => e.max == 360).value == 0")
        choose_tab(page, "Draw")
        page.wait_for("document.querySelector('.verdict').innerText.includes('say')")
        assert len(page.requests) > 5
        assert [url for url in page.requests if not url.startswith((f"{server}/", "blob:"))] == []
        assert page.errors == []


def test_what_was_moved_while_the_page_was_loading_stays(toy: Path, one_thread: None) -> None:
    """The tab of the test images is opened then."""
    import gradio as gr

    from pipeline.apps.explorer.answers import ANY, Explorer
    from pipeline.apps.explorer.events import PageEvents, PageParts

    explorer = Explorer(open_network(find_model("toy", None)), read_prepared("squares", "test", torch.device("cpu")))
    parts = PageParts(*[None] * len(PageParts._fields))._replace(sliders=[None] * DIM)
    opened = PageEvents(explorer, parts).opened_test
    first, second = (explorer.test_image(ANY, number) for number in (1, 2))
    assert all(answer == gr.skip() for answer in opened(first, ANY, 1, 0.0))
    for seen in (None, second):
        shown, view, *_ = opened(seen, ANY, 1, 0.0)
        assert np.array_equal(shown.image, first.image)
        assert view.pixels.shape == (1, 20, 20)


@pytest.mark.slow
def test_a_network_without_a_decoder_has_no_sliders_and_says_why(bare_server: str) -> None:
    from gradio_client import Client

    client = Client(bare_server, verbose=False)
    pair, _, _, moved, *_ = client.predict("1", 2, 0, api_name="/test_image")
    assert pair.count("<img") == 1
    assert moved == ""
    blocks = client.config["components"]
    hidden = [block for block in blocks if block["props"].get("visible") is False and block["type"] == "column"]
    assert len(hidden) == 1
    assert any("trained without a decoder" in str(block["props"].get("value")) for block in blocks)


def test_a_file_that_names_no_data_set_cannot_be_explored(toy: Path, tiny_model: ModelConfig) -> None:
    save_model(Path("a.safetensors"), CapsNet(tiny_model), {})
    with pytest.raises(ValueError, match=r"a\.safetensors: got a file that names no data set"):
        explore.main(["a.safetensors"])


def test_the_explorer_without_gradio_says_what_to_install(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pipeline.apps.explorer.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"gradio is not installed; pip install '\.\[explore\]'"):
        explore.main(["toy"])
