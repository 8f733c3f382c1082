"""How the explorer shows what it computed: pieces of HTML that load no other file.

Axes: C channels, S size of the data's images, H size that the network sees, J classes,
T types of primary capsules, Y X rows and columns.
"""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from capsnet.data.picture import shown
from capsnet.networks.network_config import NetworkConfig
from pipeline.apps.explorer.mistakes import Mistake
from pipeline.apps.explorer.view import View

MOST_BARS = 12
MOST_MISTAKES = 60
ORANGE = (213, 94, 0)  # Okabe and Ito 2008: distinguishable from grey with any colour vision
GREEN = (0, 158, 115)
YELLOW = (230, 159, 0)
TILES = 8  # maps in a row

STYLE = f"""
.gradio-container {{ overflow: visible !important; }}  /* or nothing in it can stay in view */
.gradio-container {{ max-width: 1360px !important; margin: 0 auto !important; }}
.main.fillable {{ padding: 1rem clamp(.6rem, 3vw, 2rem) !important; }}
.head h1 {{ font-size: 1.5rem; font-weight: 650; margin: .2rem 0 .3rem; }}
.head p, .note, figcaption {{ color: color-mix(in srgb, var(--body-text-color) 78%, transparent); }}
.head p, .note {{ line-height: 1.45; margin: 0 0 .3rem; max-width: 62rem; }}
.card {{ background: var(--block-background-fill); border: 1px solid var(--border-color-primary); }}
.card {{ border-radius: 8px; padding: .8rem; align-self: stretch; }}
.card .html-container {{ padding: 0 !important; }}  /* text begins where the controls begin */
.card h2 {{ font-size: 1.05rem; font-weight: 650; margin: 0 0 .3rem; }}
.pair {{ display: flex; gap: .8rem; flex-wrap: wrap; }}
.pair figure {{ margin: 0; flex: 1 1 8rem; max-width: 15rem; }}
.pixels, .pixels img {{ width: 100%; image-rendering: pixelated; display: block; border-radius: 4px; }}
/* Some reconstructions are not black at the edge. */
figure > .pixels {{ outline: 1px solid var(--border-color-primary); }}
figcaption {{ font-size: .85rem; margin-top: .3rem; }}
figcaption b {{ color: var(--body-text-color); }}
.bars {{ display: grid; grid-template-columns: max-content 1fr max-content; gap: .28rem .6rem; align-items: center; }}
.bars .track {{ background: var(--border-color-primary); border-radius: 3px; height: .75rem; }}
.bars .fill {{ background: var(--neutral-400); border-radius: 3px; height: 100%; }}
.bars .best {{ font-weight: 650; }}
.bars .fill.best {{ background: rgb{ORANGE}; }}
.bars .number {{ font-variant-numeric: tabular-nums; text-align: right; }}
.maps {{ display: flex; gap: 1.2rem; flex-wrap: wrap; align-items: flex-start; }}
.maps figure {{ margin: 0; flex: 0 1 15rem; min-width: 12rem; }}
.maps figure.types {{ flex: 1 1 18rem; max-width: 36rem; }}
.maps .backdrop {{ background: #111; padding: 6px; border-radius: 4px; }}
.verdict {{ margin: 0 0 .5rem; padding: .35rem .6rem; border-left: 4px solid var(--border-color-primary); }}
.verdict.right {{ border-color: rgb{GREEN}; }}
.verdict.wrong {{ border-color: rgb{ORANGE}; background: rgba({ORANGE[0]}, {ORANGE[1]}, {ORANGE[2]}, .14); }}
.verdict.unsure {{ border-color: rgb{YELLOW}; background: rgba({YELLOW[0]}, {YELLOW[1]}, {YELLOW[2]}, .14); }}
.mistakes {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); gap: .5rem; }}
.mistakes {{ max-height: 22rem; overflow-y: auto; }}
.mistakes button {{ padding: 0; border-radius: 4px; text-align: left; font-size: .75rem; font-weight: 400; }}
.mistakes button span {{ display: block; padding: .1rem .3rem .2rem; }}
.mistakes button:hover img, .mistakes button:focus-visible img {{ outline: 3px solid rgb{ORANGE}; }}
.pad {{ display: flex; flex-direction: column; gap: .4rem; align-items: flex-start; }}
.pad canvas {{ border: 1px solid var(--border-color-primary); border-radius: 4px; touch-action: none; }}
.pad canvas {{ cursor: crosshair; max-width: 100%; }}
.pad button {{ font-size: .85rem; font-weight: 400; }}
.pad button {{ padding: .2rem .8rem; border: 1px solid var(--border-color-primary); border-radius: 4px; }}
.card, .stays {{ overflow: visible !important; }}
/* Above the labels of gradio's sliders. */
.stays {{ position: sticky !important; top: 0; z-index: 99; background: var(--block-background-fill); }}
.stays {{ padding: .3rem 0 !important; }}
@media (max-width: 700px) {{ .stays .pair figure {{ display: flex; gap: .6rem; max-width: none; }} }}
@media (max-width: 700px) {{ .stays .pixels {{ width: 7rem; }} }}
.moves .tab-like-container, .moves input[type=number] {{ display: none !important; }}
.moves .min_value, .moves .max_value {{ display: none; }}
.card [role=tab] {{ padding: 0 .4rem; }}
.moves {{ gap: .3rem !important; align-items: flex-end !important; --slider-color: var(--neutral-200); }}
.moves input[type=range] {{ min-width: 0; }}
input[type=range]::-webkit-slider-thumb {{ background: var(--color-accent) !important; }}
input[type=range]::-moz-range-thumb {{ background: var(--color-accent) !important; }}
"""


def png(picture: Image.Image) -> str:
    """Return a picture as a data URL."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def figure(image: Float[Tensor, "C H H"], name: str, caption: str) -> str:
    """Return an image with its name, for screen readers, and its caption, which is HTML."""
    source = png(shown(image.numpy()))
    return f'<figure><img class="pixels" src="{source}" alt="{name}"><figcaption>{caption}</figcaption></figure>'


def verdict(says: str, truth: str, doubt: str) -> str:
    """Return the network's answer in words, and whether it is right, wrong or unsure.

    Args:
        says: The name of the class with the longest capsule.
        truth: The name of the true class; empty if it is unknown.
        doubt: Why the answer is unsure; empty if it is sure.
    """
    says, truth, doubt = (escape(text).replace(" %", "&nbsp;%") for text in (says, truth, doubt))
    if doubt:
        known = f" This is <b>{truth}</b>." if truth else ""
        return f'<p class="verdict unsure">? Unsure: {doubt}. It would say <b>{says}</b>.{known}</p>'
    if not truth:
        return f'<p class="verdict">It says <b>{says}</b>.</p>'
    if truth == says:
        return f'<p class="verdict right">✓ Right: it says <b>{says}</b>.</p>'
    return f'<p class="verdict wrong">✗ Wrong: it says <b>{says}</b>, but this is <b>{truth}</b>.</p>'


def message(text: str) -> str:
    """Return why nothing is shown."""
    return f'<p class="verdict unsure">{escape(text)}</p>'


def pair(view: View, names: Sequence[str]) -> str:
    """Return what the network sees beside what it draws."""
    best = escape(names[int(view.winner)])
    figures = figure(view.pixels, "input", "Input")
    if view.reconstruction is not None:
        figures += figure(view.reconstruction, "reconstruction", f"Reconstruction, from capsule <b>{best}</b>")
    return f'<div class="pair">{figures}</div>'


def mistakes(
    shown_ones: Sequence[tuple[Mistake, UInt8[np.ndarray, "C S S"], str, str]], found: int, looked_at: int, of: int
) -> str:
    """Return a gallery of mistakes, each a button with the index of its image.

    Args:
        shown_ones: Each mistake with its image, the name of its class and the name that the network said.
        found: The number of all mistakes.
        looked_at: The number of test images that were looked at.
        of: The number of test images.
    """
    buttons = "".join(
        f'<button type="button" data-index="{mistake.image}" title="capsule {escape(said)}: {mistake.length:.2f}">'
        f'<img class="pixels" src="{png(shown(image / 255))}" alt="test image {mistake.image}">'
        f"<span><b>{escape(truth)}</b> read as <b>{escape(said)}</b></span></button>"
        for mistake, image, truth, said in shown_ones
    )
    so_far = f"{found:,} of {looked_at:,} test images are wrong"
    going_on = f", {of - looked_at:,} are still to be looked at" if looked_at < of else ""
    most = f" The {len(shown_ones)} with the longest capsule:" if found > len(shown_ones) else ""
    return f'<p class="note">{so_far}{going_on}.{most}</p><div class="mistakes">{buttons}</div>'


def bars(lengths: Float[Tensor, " J"], names: Sequence[str]) -> str:
    """Return the lengths of the class capsules as bars: those of the longest if there are many classes."""
    order = lengths.argsort(descending=True).tolist()
    best = order[0]
    rows = ""
    for index in sorted(order[:MOST_BARS]):
        length, mark = float(lengths[index]), " best" if index == best else ""
        rows += (
            f'<span class="name{mark}">{escape(names[index])}</span>'
            f'<div class="track"><div class="fill{mark}" style="width:{100 * length:.1f}%"></div></div>'
            f'<span class="number{mark}">{length:.2f}</span>'
        )
    return f'<div class="bars">{rows}</div>'


def coupling(view: View, config: NetworkConfig, name: str) -> str:
    """Return the coupling averaged over the types, drawn over the image, and the map of each type."""
    field = config.layout.field
    mean = view.coupling.mean(0)
    size = view.pixels.shape[1]
    strength = _between_extremes(mean.numpy())
    squares = ""
    for row, column in np.ndindex(*mean.shape):
        x, y = (field.centre(place) + (1 - field.step) / 2 for place in (column, row))
        squares += (
            f'<rect x="{x:g}" y="{y:g}" width="{field.step}" height="{field.step}" fill="rgb{ORANGE}" '
            f'fill-opacity="{0.85 * strength[row, column]:.3f}"><title>row {row}, column {column}: '
            f"{mean[row, column]:.3f}</title></rect>"
        )
    laid_on = (
        f'<svg viewBox="0 0 {size} {size}" class="pixels" role="img" aria-label="coupling on the image">'
        f'<image href="{png(shown(view.pixels.numpy()))}" width="{size}" height="{size}" '
        f'style="image-rendering:pixelated"/>{squares}</svg>'
    )
    return (
        f'<div class="maps"><figure>{laid_on}<figcaption>Coupling to <b>{escape(name)}</b>, mean over the types: '
        f"{_range(mean)}. An even share would be {config.even_share:.2g}.</figcaption></figure>"
        f'<figure class="types"><div class="backdrop"><img class="pixels" src="{png(_tiles(view.coupling.numpy()))}" '
        f'alt="coupling of each type"></div><figcaption>The same for each of the {len(view.coupling)} types: '
        f"{_range(view.coupling)}.</figcaption></figure></div>"
    )


def _range(values: Float[Tensor, "..."]) -> str:
    return f"from {float(values.min()):.3f} (clear) to {float(values.max()):.3f} (full orange)"


def _between_extremes(values: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
    """Return 0 for the lowest value and 1 for the highest; all 0 if they are equal."""
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread else np.zeros_like(values)


def _tiles(maps: Float[np.ndarray, "T Y X"]) -> Image.Image:
    """Return the maps side by side."""
    types, rows, columns = maps.shape
    across = min(TILES, types)
    lines = -(-types // across)
    alpha = np.zeros((lines * (rows + 1) - 1, across * (columns + 1) - 1))
    for number, values in enumerate(_between_extremes(maps)):
        top, left = number // across * (rows + 1), number % across * (columns + 1)
        alpha[top : top + rows, left : left + columns] = 0.12 + 0.88 * values
    colours = np.full((*alpha.shape, 4), (*ORANGE, 0), np.uint8)
    colours[..., 3] = (255 * alpha).round()
    return Image.fromarray(colours)
