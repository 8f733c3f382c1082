"""What happens on the explorer's page: which answer follows which event."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gradio as gr
import numpy as np

from pipeline.apps.explorer import panels
from pipeline.apps.explorer.answers import Explorer
from pipeline.apps.explorer.view import ChosenImage, View

STEP = 5  # degrees of one turn when the image turns by itself
UPRIGHT = 0.0
SECONDS = 0.3  # between two turns, at least
TURN, STOP = "▶ Turn by itself", "■ Stop turning"


class Tabs(NamedTuple):
    """The tabs of the ways to choose an image."""

    test: gr.Tab
    mistakes: gr.Tab
    draw: gr.Tab
    upload: gr.Tab


class PageParts(NamedTuple):
    """The inputs and outputs of the page."""

    image: gr.State  # a ChosenImage, or None
    seen: gr.State  # a View, or None
    tabs: Tabs
    kind: gr.Dropdown
    number: gr.Slider
    any: gr.Button
    gallery: gr.HTML
    pad: gr.HTML
    file: gr.File
    degrees: gr.Slider
    play: gr.Button
    pair: gr.HTML
    bars: gr.HTML
    maps: gr.HTML
    drawn: gr.HTML
    sliders: list[gr.Slider]
    reset: gr.Button


class PageEvents:
    """The events of the page. Each way to choose an image keeps what was chosen last, for when its tab is opened."""

    def __init__(self, explorer: Explorer, parts: PageParts) -> None:
        self.explorer, self.parts = explorer, parts
        self.answered = [parts.image, parts.seen, parts.pair, parts.bars, parts.maps, parts.drawn, *parts.sliders]
        # If events come faster than answers, only the last one is answered.
        self.quietly: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
        self.mistake, self.drawing, self.upload = (gr.State(None) for _ in range(3))

    def connect(self) -> None:
        """Connect all events."""
        self._connect_choices()
        self._connect_own()
        self._connect_turning()
        parts = self.parts
        gr.on(
            [slider.input for slider in parts.sliders],
            self.explorer.move,
            [parts.seen, *parts.sliders],
            parts.drawn,
            api_name="move",
            **self.quietly,
        )
        parts.reset.click(self._back, parts.seen, [*parts.sliders, parts.drawn], api_name="reset", **self.quietly)

    def _connect_choices(self) -> None:
        explorer, parts = self.explorer, self.parts

        def test_image(kind: str, number: float, degrees: float) -> Any:
            return self._show(explorer.test_image(kind, number), degrees)

        def any_image(kind: str, degrees: float) -> Any:
            number = int(np.random.default_rng().integers(len(explorer.members(kind)))) + 1
            return number, *self._show(explorer.test_image(kind, number), degrees)

        def last_of(kind: str) -> Any:
            return gr.Slider(maximum=len(explorer.members(kind)), value=1)

        def opened(event: gr.EventData) -> Any:
            chosen = explorer.numbered(int(event.index))
            return chosen, UPRIGHT, *self._show(chosen, UPRIGHT)  # turned, it might be no mistake

        asked = [parts.kind, parts.number, parts.degrees]
        triggers = [parts.kind.input, parts.number.input]
        gr.on(triggers, test_image, asked, self.answered, api_name="test_image", **self.quietly)
        parts.tabs.test.select(
            self.opened_test, [parts.image, *asked], self.answered, api_visibility="private", **self.quietly
        )
        parts.kind.input(last_of, parts.kind, parts.number, api_visibility="private")
        parts.any.click(
            any_image,
            [parts.kind, parts.degrees],
            [parts.number, *self.answered],
            api_name="random_image",
            **self.quietly,
        )
        parts.tabs.mistakes.select(explorer.gallery, None, parts.gallery, api_name="mistakes", show_progress="hidden")
        self._connect_tab(parts.tabs.mistakes, self.mistake, "Choose one of the images above.")
        parts.gallery.select(
            opened, None, [self.mistake, parts.degrees, *self.answered], api_visibility="private", **self.quietly
        )

    def _connect_own(self) -> None:
        explorer, parts = self.explorer, self.parts
        nothing_drawn, no_file = "Nothing is drawn yet.", "No file is chosen yet."

        def draw(degrees: float, event: gr.EventData) -> Any:
            chosen = explorer.drawn(event.picture)
            return chosen, *self._show(chosen, degrees)

        def upload(path: str, degrees: float) -> Any:
            chosen = explorer.uploaded(path)
            return chosen, *self._show(chosen, degrees)

        def empty(message: str) -> Callable[[], Any]:
            return lambda: (None, *self._nothing(message))

        parts.pad.input(draw, parts.degrees, [self.drawing, *self.answered], api_visibility="private", **self.quietly)
        parts.pad.clear(empty(nothing_drawn), None, [self.drawing, *self.answered], api_visibility="private")
        asked = [parts.file, parts.degrees]
        parts.file.upload(upload, asked, [self.upload, *self.answered], api_name="upload", **self.quietly)
        parts.file.clear(empty(no_file), None, [self.upload, *self.answered], api_visibility="private")
        self._connect_tab(parts.tabs.draw, self.drawing, nothing_drawn)
        self._connect_tab(parts.tabs.upload, self.upload, no_file)

    def _connect_tab(self, tab: gr.Tab, kept: gr.State, otherwise: str) -> None:
        """Show what was last chosen in a tab when it is opened."""

        def show(chosen: ChosenImage | str | None, degrees: float) -> Any:
            return self._show(otherwise if chosen is None else chosen, degrees)

        tab.select(show, [kept, self.parts.degrees], self.answered, api_visibility="private", **self.quietly)

    def _connect_turning(self) -> None:
        parts = self.parts
        timer, turning = gr.Timer(SECONDS, active=False), gr.State(False)

        def turn(chosen: ChosenImage | None, view: View | None, degrees: float, *offsets: float) -> Any:
            if chosen is None:
                return [gr.skip()] * len(self.answered)
            return self._turned(chosen, view, degrees, offsets)

        def step(chosen: ChosenImage | None, view: View | None, degrees: float, *offsets: float) -> Any:
            further = (degrees + STEP) % 360
            return further, *turn(chosen, view, further, *offsets)

        def toggle(is_turning: bool) -> Any:
            return not is_turning, gr.Timer(active=not is_turning), gr.Button(TURN if is_turning else STOP)

        asked = [parts.image, parts.seen, parts.degrees, *parts.sliders]
        parts.degrees.input(turn, asked, self.answered, api_name="turn", **self.quietly)
        # A turn that comes before the last one is answered is left out.
        timer.tick(
            step,
            asked,
            [parts.degrees, *self.answered],
            api_name="turn_on",
            show_progress="hidden",
            trigger_mode="once",
        )
        parts.play.click(toggle, turning, [turning, timer, parts.play], api_visibility="private", **self.quietly)

    def opened_test(self, seen: ChosenImage | None, kind: str, number: float, degrees: float) -> Sequence[Any]:
        """Answer the opened tab of the test images. What is seen already stays, with what was moved.

        gradio opens this tab when it has loaded the page, too.
        """
        chosen = self.explorer.test_image(kind, number)
        if seen is not None and seen.truth == chosen.truth and np.array_equal(seen.image, chosen.image):
            return [gr.skip()] * len(self.answered)
        return self._show(chosen, degrees)

    def _show(self, chosen: ChosenImage | str, degrees: float) -> tuple[Any, ...]:
        """Answer a newly chosen image, with all sliders at zero; or say why there is none."""
        if isinstance(chosen, str):
            return self._nothing(chosen)
        view, *htmls = self.explorer.view(chosen, degrees, [0.0] * len(self.parts.sliders))
        return chosen, view, *htmls, *self._sliders(view)

    def _turned(
        self, chosen: ChosenImage, before: View | None, degrees: float, offsets: tuple[float, ...]
    ) -> tuple[Any, ...]:
        """Answer the image at another angle. Moved sliders stay as long as the same class wins."""
        view, *htmls = self.explorer.view(chosen, degrees, offsets)
        if before is not None and int(before.winner) == int(view.winner):
            return chosen, view, *htmls, *[gr.skip()] * len(offsets)
        htmls[-1] = self.explorer.move(view, *[0.0] * len(offsets))
        return chosen, view, *htmls, *self._sliders(view)

    def _nothing(self, message: str) -> tuple[Any, ...]:
        return None, None, panels.message(message), "", "", "", *[gr.Slider(value=0)] * len(self.parts.sliders)

    def _sliders(self, view: View) -> list[gr.Slider]:
        return [gr.Slider(label=name, value=0) for name in self.explorer.labels_of_sliders(int(view.winner))]

    def _back(self, view: View | None) -> tuple[float | str, ...]:
        zeros = (0.0,) * len(self.parts.sliders)
        return *zeros, self.explorer.move(view, *zeros)
