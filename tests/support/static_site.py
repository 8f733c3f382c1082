"""A folder served to this machine as any web server would, and the page's networks and images in small."""

import functools
import json
from contextlib import AbstractContextManager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from servers import in_thread
from sklearn.datasets import load_digits

from capsnet.data.arrays import Arrays, Split
from capsnet.networks.capsnet import CapsNet, NetworkConfig
from capsnet.networks.saved import save_model
from pipeline.apps.live_page.published_networks import DATASET
from pipeline.runtime.prepared import write_prepared
from pipeline.runtime.weights import PUBLISHED


class FolderServer(ThreadingHTTPServer):
    """Serves a folder, and keeps the paths that it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(FolderHandler, directory=str(folder)))
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class FolderHandler(SimpleHTTPRequestHandler):
    server: FolderServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path.removeprefix("/"))
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def served(folder: Path) -> AbstractContextManager[FolderServer]:
    """Serve a folder for as long as a block lasts."""
    return in_thread(FolderServer(folder))


def write_digits(each: int) -> None:
    """Write scikit-learn's digits, enlarged to 20 of 28 pixels, as the prepared data of the page."""
    digits = load_digits()
    places = np.concatenate([np.flatnonzero(digits.target == label)[:each] for label in range(10)])
    images = np.zeros((len(places), 1, 28, 28), np.uint8)
    for image, place in zip(images, places, strict=True):
        small = Image.fromarray((digits.images[place] * (255 / 16)).astype(np.uint8))
        image[0, 4:24, 4:24] = np.asarray(small.resize((20, 20), Image.Resampling.BICUBIC))
    split = Split(images, digits.target[places].astype(np.int64))
    write_prepared(DATASET, "scikit-learn", Arrays(split, split, "scikit-learn"))


def publish(name: str, config: NetworkConfig, accuracy: float) -> Path:
    """Write an untrained network with a manifest of its own."""
    torch.manual_seed(0)
    path = PUBLISHED / f"{name}.safetensors"
    save_model(path, CapsNet(config).eval(), {"settings": {"dataset": DATASET, "crop": 0, "max_shift": 2}})
    manifest = {"run": name, "seed": 0, "dataset": DATASET, "accuracy": accuracy, "test_images": 10}
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return path


def for_digits(config: NetworkConfig, **changed: Any) -> NetworkConfig:
    """Return the configuration of a network for the images of the page."""
    return replace(config, **{"image_size": 28, "classes": 10} | changed)
