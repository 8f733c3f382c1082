"""A page built from made-up digits: with the published network, and with small untrained ones."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, BrowserPage, browser
from static_site import FolderServer, for_digits, publish, served, write_digits

from capsnet.networks.capsnet import AttentionConfig
from pipeline.apps import site
from pipeline.apps.live_page.writing import SITE
from pipeline.runtime.weights import PUBLISHED

ROOT = Path(__file__).parents[4]
LEAST = 1.0  # percent: the accuracy of untrained networks, in their manifests


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data for the page, and no network yet."""
    monkeypatch.chdir(tmp_path)
    PUBLISHED.mkdir()
    write_digits(2)
    return tmp_path


@pytest.fixture(scope="session")
def built(tiny_attention: AttentionConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the published network, with an untrained one beside it."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        PUBLISHED.mkdir()
        for path in (ROOT / PUBLISHED).glob("mnist-deconv_bn.*"):
            shutil.copy(path, PUBLISHED)
        publish("untrained", for_digits(tiny_attention), LEAST)
        write_digits(1)
        site.main([])
    return folder / SITE


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def server(built: Path) -> Iterator[FolderServer]:
    with served(built) as started:
        yield started


@pytest.fixture
def page(chromium: Browser, server: FolderServer) -> BrowserPage:
    """The page when it has answered for its first example."""
    opened = chromium.open(server.url, width=1400, height=1000)
    opened.wait_for("document.body.dataset.answer !== undefined")
    return opened
