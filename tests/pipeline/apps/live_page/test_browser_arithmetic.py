"""What the page computes in headless Chromium, held to torch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from browser import CHROMIUM, NO_CHROMIUM, Browser, BrowserPage
from static_site import for_digits, publish, served, write_digits

from capsnet.data.geometry import rotate
from capsnet.networks.capsnet import AttentionConfig, ModelConfig
from capsnet.networks.saved import load
from pipeline.apps.live_page.program import build_program
from pipeline.apps.live_page.published_networks import PublishedNetwork, prepare
from pipeline.apps.live_page.writing import SITE, site_files, write_site
from pipeline.runtime.prepared import read_prepared
from pipeline.runtime.weights import PUBLISHED

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)]

TOLERANCE = 1e-4
RUN = """(async (name, images) => {
  const { openNetwork } = await import("./network.js");
  const kernel = await WebAssembly.compile(await (await fetch("kernel.wasm")).arrayBuffer());
  const program = await (await fetch(`networks/${name}.json`)).json();
  const network = await openNetwork(program, await (await fetch(`networks/${name}.bin`)).arrayBuffer(), kernel);
  return images.map((image) => {
    const { lengths, capsules, winner, shares } = network.recognise(image);
    return { lengths, winner, shares: [...shares], drawn: [...network.decode(capsules, winner)] };
  });
})"""


def test_the_page_turns_an_image_as_the_library_does(page: BrowserPage) -> None:
    image = torch.randint(0, 256, (1, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    values = (image.flatten() / 255).tolist()
    for degrees in (0.0, 30.0, 90.0, 200.0):
        turned = page.evaluate(
            f"(async () => [...(await import('./image.js')).turn(Float32Array.from({values}), {degrees})])()"
        )
        expected = rotate(image, degrees).flatten() / 255
        # A value half-way between two grey levels may be rounded to either.
        assert (torch.tensor(turned) - expected).abs().max() < 1.5 / 255


def agrees(page: BrowserPage, path: Path, images: torch.Tensor) -> None:
    """Compare the page's network with torch, which runs the same rounded weights."""
    model = build_program(load(path)).model
    with torch.no_grad():
        output = model(images, with_coupling=True)
    answers: list[dict[str, Any]] = page.evaluate(f"{RUN}({path.stem!r}, {images.flatten(1).tolist()})")
    winners = output.lengths.argmax(1)
    assert [answer["winner"] for answer in answers] == winners.tolist()
    assert output.coupling is not None
    assert output.reconstruction is not None
    shares = output.coupling[torch.arange(len(images)), :, winners]
    for name, expected in (
        ("lengths", output.lengths),
        ("shares", shares),
        ("drawn", output.reconstruction.flatten(1)),
    ):
        got = torch.tensor([answer[name] for answer in answers])
        assert (got - expected).abs().max() <= TOLERANCE, name


def test_the_published_network_gives_what_torch_gives(page: BrowserPage, built: Path) -> None:
    images = torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    agrees(page, built.parent / PUBLISHED / "mnist-deconv_bn.safetensors", images)


def test_every_kind_of_network_gives_what_torch_gives(
    chromium: Browser,
    tiny_model: ModelConfig,
    tiny_attention: AttentionConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both routings; all decoders that the page knows; normalisation, bias, leaks, standardised images."""
    monkeypatch.chdir(tmp_path)
    PUBLISHED.mkdir()
    write_digits(1)
    configs = {
        "plain": for_digits(tiny_model, routing_iterations=3),
        "deconv": for_digits(tiny_model, decoder="deconv", batch_norm=True, routing_bias=True),
        "large": for_digits(tiny_model, decoder_hidden=(3000, 8), batch_norm=True),
        "attention": for_digits(tiny_attention, standardise=True),
        "leaky": for_digits(tiny_attention, encoder_leak=0.2, decoder="deconv"),
    }
    test = read_prepared("mnist", "test", torch.device("cpu"))
    made = []
    for name, config in configs.items():
        path = publish(name, config, 1.0)
        made.append(prepare(PublishedNetwork(path, {"accuracy": 1.0}, load(path)), test.images, test.labels))
    write_site(site_files(made, [{"label": 0, "place": 0, "pixels": [0] * 784}]))
    images = torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    with served(tmp_path / SITE) as server:
        page = chromium.open(server.url, width=800)
        for name in configs:
            agrees(page, PUBLISHED / f"{name}.safetensors", images)
