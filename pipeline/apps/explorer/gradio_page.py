"""The explorer's page in gradio. It loads nothing from other machines, not even fonts."""

from collections.abc import Sequence
from html import escape

import gradio as gr
import matplotlib.pyplot as plt

from pipeline.apps.explorer import panels
from pipeline.apps.explorer.answers import ANY, Explorer
from pipeline.apps.explorer.events import TURN, PageEvents, PageParts, Tabs
from pipeline.apps.explorer.pad import HTML as PAD
from pipeline.apps.explorer.pad import SCRIPT
from pipeline.drawing.perturbation import REACH

HOST = "127.0.0.1"
LARGEST = "10 MB"  # of an uploaded file
# `element` and `trigger` are gradio's.
OPEN = """element.addEventListener('click', event => {
  const button = event.target.closest('[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});"""
THEME = gr.themes.Default(
    primary_hue="orange",
    font=("system-ui", "sans-serif"),
    font_mono=("ui-monospace", "monospace"),
    spacing_size="sm",
    radius_size="sm",
)
CHOOSE = "Choose an image of the test set, which the network was not trained on, draw one, or upload a file."
SEE = (
    "Each class has one capsule, a vector. Its <b>length</b>, from 0 to 1, says how sure the network is of the class; "
    "lengths need not add up to 1."
)
DRAWN = " The decoder draws an image from the longest capsule alone."
MOVE = (
    "The <b>direction</b> of the vector says what the shape looks like. Each slider adds "
    f"up to {REACH:g} to one of its numbers, or takes it away. "
    "Its name says what that did, on average, to test images of this class."
)
NOTHING_TO_MOVE = "This network was trained without a decoder, so there is nothing to draw a moved capsule with."
MAP = (
    "Each primary capsule sees a patch of {field} x {field} pixels and divides its vote among the class capsules. "
    "Routing gives more of the vote to a class on which other votes agree. A square marks the centre of a patch. The "
    "stronger its orange, the more of the vote went to the winning class."
)


def build(explorer: Explorer) -> gr.Blocks:
    """Return the page."""
    # Uploads are deleted an hour after they came.
    page = gr.Blocks(title=f"capsnet: {explorer.name}", analytics_enabled=False, delete_cache=(3600, 3600))
    with page:
        gr.HTML(_head(explorer), elem_classes="head")
        PageEvents(explorer, _lay_out(explorer)).connect()
    return page


def _lay_out(explorer: Explorer) -> PageParts:
    config = explorer.network.model.config
    decodes = explorer.network.model.decoder is not None
    first = explorer.test_image(ANY, 1)
    view, *start = explorer.view(first, 0, (0.0,) * config.class_dim)
    with gr.Row():
        with gr.Column(min_width=300, scale=9):
            with gr.Row():
                with gr.Column(min_width=300, scale=4, elem_classes="card"):
                    _title("1. Choose an image", CHOOSE)
                    choices = _choices(explorer)
                    degrees = gr.Slider(0, 360, 0, step=5, label="Turn it counter-clockwise (degrees)", buttons=[])
                    play = gr.Button(TURN, size="sm")
                with gr.Column(min_width=280, scale=5, elem_classes="card"):
                    _title("2. What the network says", SEE + DRAWN if decodes else SEE)
                    pair, bars = gr.HTML(start[0]), gr.HTML(start[1])
            with gr.Column(elem_classes="card"):
                _title("3. Where the votes came from", MAP.format(field=config.layout.field.size))
                maps = gr.HTML(start[2])
        with gr.Column(min_width=280, scale=5, elem_classes="card"):
            _title("4. Move the capsule", MOVE if decodes else NOTHING_TO_MOVE)
            with gr.Column(visible=decodes, elem_classes="card-part"):
                drawn = gr.HTML(start[3], elem_classes="stays")
                reset = gr.Button("Back to zero", size="sm")
                sliders = _sliders(explorer.labels_of_sliders(int(view.winner)))
    image, seen = gr.State(first), gr.State(view)
    return PageParts(image, seen, *choices, degrees, play, pair, bars, maps, drawn, sliders, reset)


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


def _choices(
    explorer: Explorer,
) -> tuple[Tabs, gr.Dropdown, gr.Slider, gr.Button, gr.HTML, gr.HTML, gr.File]:
    names = [ANY, *(name for name in explorer.network.class_names if len(explorer.members(name)))]
    with gr.Tab("Test") as test:
        kind = gr.Dropdown(names, value=ANY, label="Class")
        number = gr.Slider(1, len(explorer.labels), 1, step=1, label="Number within the class", buttons=[])
        random = gr.Button("Random image", size="sm")
    with gr.Tab("Mistakes") as mistakes:
        gallery = gr.HTML("", js_on_load=OPEN)
    with gr.Tab("Draw") as draw:
        pad = gr.HTML(html_template=PAD, js_on_load=SCRIPT)
    with gr.Tab("Upload") as upload:
        file = gr.File(label=f"A picture, at most {LARGEST}", file_types=["image"], height=160)
    return Tabs(test, mistakes, draw, upload), kind, number, random, gallery, pad, file


def _sliders(names: Sequence[str]) -> list[gr.Slider]:
    made = []
    for start in range(0, len(names), 2):
        with gr.Row(elem_classes="moves"):
            made += [
                gr.Slider(-REACH, REACH, 0, step=0.01, label=name, min_width=120, buttons=[])
                for name in names[start : start + 2]
            ]
    return made


def serve(explorer: Explorer, port: int | None) -> None:
    """Serve the page to this machine only, until interrupted."""
    # gradio sets matplotlib's backend around each event: without this the first event would wait for that import.
    plt.switch_backend("agg")
    page = build(explorer)
    _, address, _ = page.launch(
        prevent_thread_lock=True,
        quiet=True,
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
    print(f"the explorer is at {address} ; Ctrl-C ends it", flush=True)
    page.block_thread()
