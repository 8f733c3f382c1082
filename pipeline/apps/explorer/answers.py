"""The answers of the explorer to the events of its page, for one network and the test images of its data."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from capsnet.explain.coupling import receptive_field
from capsnet.sources.folder import open_picture
from pipeline.apps.explorer import panels
from pipeline.apps.explorer.view import ChosenImage, View, look, moved
from pipeline.apps.network import Network
from pipeline.runtime.prepared import Prepared

ANY = "any class"


class Explorer:
    """Answers the events of the page, for one network and the test images of its data."""

    def __init__(self, network: Network, test: Prepared) -> None:
        self.network = network
        self.name = f"{network.path.parent.name} {network.path.stem}"
        self.images = test.images.numpy()
        self.labels = test.labels.numpy()

    def members(self, name: str) -> np.ndarray:
        """Return the indices of the test images of a class, or of all test images."""
        if name == ANY:
            return np.arange(len(self.labels))
        return np.flatnonzero(self.labels == self.network.class_names.index(name))

    def test_image(self, name: str, number: float) -> ChosenImage:
        """Return the test image with this number in its class, from 1 on; the last one for a larger number."""
        members = self.members(name)
        index = members[min(max(int(number), 1), len(members)) - 1]
        return ChosenImage(self.images[index], self.network.class_names[self.labels[index]])

    def own(self, picture: Image.Image) -> ChosenImage:
        """Return the user's picture as an image of the data. Raises gr.Error with what is wrong with it."""
        try:
            return ChosenImage(self.network.image(picture, self.network.treatment), "")
        except ValueError as error:
            raise gr.Error(escape(str(error))) from error

    def uploaded(self, path: str) -> ChosenImage:
        """Return the user's file as an image of the data. Raises gr.Error if it is no picture."""
        try:
            picture, warnings = open_picture(Path(path))
        except ValueError as error:
            raise gr.Error(escape(f"{Path(path).name}: {error}")) from error
        for warning in warnings:
            gr.Warning(escape(f"{Path(path).name}: {warning}"))
        return self.own(picture)

    def drawn(self, drawing: dict[str, Any]) -> ChosenImage | None:
        """Return a drawing on white paper as an image of the data; None while nothing is drawn."""
        if drawing["composite"] is None:
            return None
        paper = Image.new("RGBA", drawing["composite"].size, "white")
        paper.alpha_composite(drawing["composite"])
        return self.own(paper) if paper.convert("L").getextrema() != (255, 255) else None

    def view(self, chosen: ChosenImage, degrees: float, offsets: Sequence[float]) -> tuple[View, str, str, str, str]:
        """Return what the network computes of an image, and the HTML of the four panels."""
        names, model = self.network.class_names, self.network.model
        view = look(model, chosen.image, degrees)
        return (
            view,
            panels.pair(view, chosen.truth, names),
            panels.bars(view.lengths, names),
            panels.coupling(view, receptive_field(model.config), names[int(view.winner)]),
            self.move(view, *offsets),
        )

    def move(self, view: View, *offsets: float) -> str:
        """Return the panel of the moved capsule; empty without a decoder."""
        if self.network.model.decoder is None:
            return ""
        name = self.network.class_names[int(view.winner)]
        caption = f"Capsule <b>{escape(name)}</b>, moved" if any(offsets) else "Not moved yet"
        image = moved(self.network.model, view, offsets)
        return f'<div class="pair">{panels.figure(image, "moved capsule", caption)}</div>'
