"""The explorer's page in gradio. It loads nothing from other machines, not even fonts."""

from collections.abc import Callable
from html import escape
from typing import Any, NamedTuple

import gradio as gr
import matplotlib.pyplot as plt
from PIL import Image

from capsnet.explain.coupling import receptive_field
from pipeline.apps.explorer import panels
from pipeline.apps.explorer.answers import ANY, Explorer
from pipeline.apps.explorer.view import FARTHEST, ChosenImage, View

HOST = "127.0.0.1"
LARGEST = "10mb"
CANVAS = 280
THEME = gr.themes.Default(
    primary_hue="orange",
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
    spacing_size="sm",
    radius_size="sm",
)
CHOOSE = "An image of the test set, which the network was never trained on, one you draw, or one of your files."
SEE = (
    "Each class has one capsule, a vector. Its <b>length</b>, from 0 to 1, says how sure the network is of the class; "
    "lengths need not add up to 1."
)
DRAWN = " The decoder draws an image from the longest capsule alone."
MOVE = (
    "The <b>direction</b> of the vector says how the thing looks. Each slider adds to one of its numbers: see whether "
    "it gets thicker, leans, or grows."
)
NOTHING_TO_MOVE = "This network was trained without a decoder, so there is nothing to draw a moved capsule with."
MAP = (
    "Each primary capsule sees a patch of {field} x {field} pixels and divides its vote among the class capsules. "
    "Routing gives more of it to the class on which other votes agree. Squares stand at the centres of the patches; "
    "the stronger the orange, the more of the vote went to the winner."
)


class PageParts(NamedTuple):
    """The inputs and outputs of the page."""

    image: gr.State  # a ChosenImage
    seen: gr.State  # a View
    kind: gr.Dropdown
    number: gr.Slider
    pad: gr.Sketchpad
    file: gr.File
    degrees: gr.Slider
    pair: gr.HTML
    bars: gr.HTML
    maps: gr.HTML
    drawn: gr.HTML
    sliders: list[gr.Slider]
    reset: gr.Button


def build(explorer: Explorer) -> gr.Blocks:
    """Return the page."""
    # Uploads are deleted an hour after they came.
    page = gr.Blocks(title=f"capsnet: {explorer.name}", analytics_enabled=False, delete_cache=(3600, 3600))
    with page:
        gr.HTML(_head(explorer), elem_classes="head")
        _connect(explorer, _lay_out(explorer))
    return page


def _lay_out(explorer: Explorer) -> PageParts:
    config = explorer.network.model.config
    decodes = explorer.network.model.decoder is not None
    first = explorer.test_image(ANY, 1)
    view, *start = explorer.view(first, 0, (0.0,) * config.class_dim)
    with gr.Row():
        with gr.Column(min_width=300, scale=9):
            with gr.Row():
                with gr.Column(min_width=280, scale=4, elem_classes="card"):
                    _title("1. Choose an image", CHOOSE)
                    kind, number, pad, file = _choices(explorer)
                    degrees = gr.Slider(0, 360, 0, step=5, label="Turn it counter-clockwise (degrees)", buttons=[])
                with gr.Column(min_width=280, scale=5, elem_classes="card"):
                    _title("2. What the network makes of it", SEE + DRAWN if decodes else SEE)
                    pair, bars = gr.HTML(start[0]), gr.HTML(start[1])
            with gr.Column(elem_classes="card"):
                _title("3. Where the votes came from", MAP.format(field=receptive_field(config).size))
                maps = gr.HTML(start[2])
        with gr.Column(min_width=280, scale=5, elem_classes="card"):
            _title("4. Move the capsule", MOVE if decodes else NOTHING_TO_MOVE)
            with gr.Column(visible=decodes):
                drawn = gr.HTML(start[3])
                sliders = _sliders(config.class_dim)
                reset = gr.Button("Back to zero", size="sm")
    image, seen = gr.State(first), gr.State(view)
    return PageParts(image, seen, kind, number, pad, file, degrees, pair, bars, maps, drawn, sliders, reset)


def _connect(explorer: Explorer, parts: PageParts) -> None:
    # If events come faster than answers, only the last one is answered.
    quietly: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
    answered = [parts.image, parts.seen, parts.pair, parts.bars, parts.maps, parts.drawn]

    def on(triggers: list[Any], choose: Callable[..., ChosenImage | None], asked: list[Any], name: str) -> None:
        def answer(*values: Any) -> Any:
            chosen = choose(*values[: len(asked)])
            if chosen is None:
                return [gr.skip()] * len(answered)
            degrees, *offsets = values[len(asked) :]
            return chosen, *explorer.view(chosen, degrees, offsets)

        gr.on(triggers, answer, [*asked, parts.degrees, *parts.sliders], answered, api_name=name, **quietly)

    def last_of(kind: str) -> Any:
        return gr.Slider(maximum=len(explorer.members(kind)), value=1)

    def back(view: View) -> tuple[float | str, ...]:
        zeros = (0.0,) * len(parts.sliders)
        return *zeros, explorer.move(view, *zeros)

    on([parts.kind.input, parts.number.input], explorer.test_image, [parts.kind, parts.number], "test_image")
    on([parts.pad.input], explorer.drawn, [parts.pad], "draw")
    on([parts.file.upload], explorer.uploaded, [parts.file], "upload")
    on([parts.degrees.input], lambda chosen: chosen, [parts.image], "turn")
    parts.kind.input(last_of, parts.kind, parts.number, api_visibility="private")
    moving = [slider.input for slider in parts.sliders]
    gr.on(moving, explorer.move, [parts.seen, *parts.sliders], parts.drawn, api_name="move", **quietly)
    parts.reset.click(back, parts.seen, [*parts.sliders, parts.drawn], api_name="reset", **quietly)


def _head(explorer: Explorer) -> str:
    config = explorer.network.model.config
    return (
        f"<h1>Inside a capsule network</h1><p><b>{escape(explorer.name)}</b>, trained on "
        f"{escape(explorer.network.dataset)}. An image becomes {config.num_primary} primary capsules of "
        f"{config.layout.dim} numbers; {config.routing} joins them into {config.classes} class capsules of "
        f"{config.class_dim} numbers ({config.source}).</p>"
    )


def _title(title: str, note: str) -> None:
    gr.HTML(f'<h2>{title}</h2><p class="note">{note}</p>')


def _choices(explorer: Explorer) -> tuple[gr.Dropdown, gr.Slider, gr.Sketchpad, gr.File]:
    names = [ANY, *(name for name in explorer.network.class_names if len(explorer.members(name)))]
    with gr.Tab("Test image"):
        kind = gr.Dropdown(names, value=ANY, label="Class")
        number = gr.Slider(1, len(explorer.labels), 1, step=1, label="Number within the class", buttons=[])
    with gr.Tab("Draw"):
        pad = gr.Sketchpad(
            Image.new(
                "RGBA", (CANVAS, CANVAS), "white"
            ),  # on an empty one the user would have to choose the brush first
            type="pil",
            canvas_size=(CANVAS, CANVAS),
            fixed_canvas=True,
            height=CANVAS + 60,
            layers=False,
            transforms=(),
            brush=gr.Brush(default_size=18, colors=["#000000"], color_mode="fixed"),
            show_label=False,
            buttons=[],
        )
    with gr.Tab("Upload"):
        file = gr.File(label=f"A picture, at most {LARGEST.upper()}", file_types=["image"], height=160)
    return kind, number, pad, file


def _sliders(number: int) -> list[gr.Slider]:
    made = []
    for start in range(0, number, 2):
        with gr.Row(elem_classes="moves"):
            made += [
                gr.Slider(-FARTHEST, FARTHEST, 0, step=0.01, label=f"{index}", min_width=120, buttons=[])
                for index in range(start, min(start + 2, number))
            ]
    return made


def serve(explorer: Explorer, port: int | None) -> None:
    """Serve the page to this machine only, until interrupted."""
    # gradio sets matplotlib's backend around each event: without this the first event would wait for that import.
    plt.switch_backend("agg")
    build(explorer).launch(
        server_name=HOST,
        server_port=port,
        share=False,
        footer_links=[],
        max_file_size=LARGEST,
        theme=THEME,
        css=panels.STYLE,
        ssr_mode=False,
        enable_monitoring=False,
    )
