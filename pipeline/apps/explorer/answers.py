"""The answers of the explorer to the events of its page, for one network and the test images of its data."""

import base64
import io
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from capsnet.networks.saved import read_facts
from capsnet.sources.folder import open_picture
from pipeline.apps.doubt import doubt, relative_error
from pipeline.apps.explorer import panels
from pipeline.apps.explorer.effects import effects
from pipeline.apps.explorer.mistakes import Mistakes
from pipeline.apps.explorer.view import ChosenImage, View, look, moved
from pipeline.apps.network import Network
from pipeline.drawing.perturbation import REACH
from pipeline.runtime.prepared import Prepared

ANY = "any class"
TRIED = 8  # test images whose capsules are moved to name a slider
MEASURED = 200  # test images of a class that give the spread of its shapes


class Explorer:
    """Answers the events of the page, for one network and the test images of its data."""

    def __init__(self, network: Network, test: Prepared) -> None:
        self.network = network
        self.name = f"{network.path.parent.name} {network.path.stem}"
        self.images = test.images.numpy()
        self.labels = test.labels.numpy()
        self.mistakes = Mistakes(network.model, test.images, test.labels)
        self.names_of_sliders: dict[int, list[str]] = {}

    def members(self, name: str) -> np.ndarray:
        """Return the indices of the test images of a class, or of all test images."""
        if name == ANY:
            return np.arange(len(self.labels))
        return np.flatnonzero(self.labels == self.network.class_names.index(name))

    def test_image(self, name: str, number: float) -> ChosenImage:
        """Return the test image with this number in its class, from 1 on; the last one for a larger number."""
        members = self.members(name)
        return self.numbered(int(members[min(max(int(number), 1), len(members)) - 1]))

    def numbered(self, index: int) -> ChosenImage:
        """Return a test image."""
        return ChosenImage(self.images[index], self.network.class_names[self.labels[index]])

    def own(self, picture: Image.Image) -> ChosenImage | str:
        """Return the largest digit of the user's picture as an image of the data, or what is wrong with the picture."""
        try:
            found = self.network.images(picture, self.network.treatment)
        except ValueError as error:
            return str(error)
        if not found:
            return "Unsure: no digit found."
        several = f"{len(found)} digits found, expected one; this is the largest" if len(found) > 1 else ""
        left, top, right, bottom = np.array([each.box for each in found]).T
        return ChosenImage(found[int(((right - left) * (bottom - top)).argmax())].image, "", several)

    def uploaded(self, path: str) -> ChosenImage | str:
        """Return the user's file as an image of the data, or why it cannot be read."""
        name = Path(path).name
        try:
            picture, warnings = open_picture(Path(path))
        except ValueError as error:
            return f"{name}: {error}"
        for warning in warnings:
            gr.Warning(escape(f"{name}: {warning}"))
        return self.own(picture)

    def drawn(self, address: str) -> ChosenImage | str:
        """Return a drawing, given as a data URL, as an image of the data."""
        return self.own(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))

    def view(self, chosen: ChosenImage, degrees: float, offsets: Sequence[float]) -> tuple[View, str, str, str, str]:
        """Return what the network computes of an image, and the HTML of the four panels."""
        names, model = self.network.class_names, self.network.model
        view = look(model, chosen.image, degrees)
        drawn = view.reconstruction
        error = None if drawn is None else relative_error(view.pixels.numpy(), drawn.numpy())
        why = chosen.doubt or doubt(self.network.dataset, float(view.lengths.max()), error)
        return (
            view,
            panels.verdict(names[int(view.winner)], chosen.truth, why) + panels.pair(view, names),
            panels.bars(view.lengths, names),
            panels.coupling(view, model.config, names[int(view.winner)]),
            self.move(view, *offsets),
        )

    def move(self, view: View | None, *offsets: float) -> str:
        """Return the panel of the moved capsule; empty without a decoder, or without an image."""
        if self.network.model.decoder is None or view is None:
            return ""
        name = self.network.class_names[int(view.winner)]
        caption = f"Capsule <b>{escape(name)}</b>, moved" if any(offsets) else "Not moved yet"
        image = moved(self.network.model, view, offsets)
        return f'<div class="pair">{panels.figure(image, "moved capsule", caption)}</div>'

    def labels_of_sliders(self, label: int) -> list[str]:
        """Return what each slider does to the shape of a class; numbers alone if the test set has no image of it."""
        if label not in self.names_of_sliders:
            model = self.network.model
            images = self.mistakes.images[np.flatnonzero(self.labels == label)[:MEASURED]]
            if model.decoder is None or not len(images):
                names = [str(number) for number in range(model.config.class_dim)]
            else:
                does = effects(model, images, label, REACH, self._max_shift(), TRIED)
                names = [f"{number}: {effect}" for number, effect in enumerate(does)]
            self.names_of_sliders[label] = names
        return self.names_of_sliders[label]

    def _max_shift(self) -> int:
        settings: dict[str, Any] = read_facts(self.network.path).get("settings", {})
        return int(settings.get("max_shift", 0))

    def gallery(self) -> Iterator[str]:
        """Yield the panel of the mistakes while they are looked for."""
        yield self._gallery()
        for _ in self.mistakes.search():
            yield self._gallery()

    def _gallery(self) -> str:
        search, names = self.mistakes, self.network.class_names
        shown = [
            (mistake, self.images[mistake.image], names[self.labels[mistake.image]], names[mistake.said])
            for mistake in search.found[: panels.MOST_MISTAKES]
        ]
        return panels.mistakes(shown, len(search.found), search.looked_at, len(self.labels))
