"""One test image turned all the way round, still and in motion.

Axes: A angles, C channels, H W height and width, J classes.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import BEHIND, COLOURS, PAGE, displayable, example, plain_axes
from pipeline.drawing.subject import Subject
from pipeline.drawing.words import Stretch, listed, spans, stretches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP = 5
DEGREES = range(0, 360, STEP)
SHOWN = 30  # degrees from one picture of the strip to the next
BARS = 10  # in motion: the classes with the longest capsules
PALETTE = 64  # colours of a GIF


def rotation(subject: Subject) -> Drawing:
    """Draw what the first seed makes of one test image at every angle."""
    from capsnet.explain.rotation import turn

    model = subject.model_with_decoder("rotation")
    chosen = example(subject.labels)
    truth = int(subject.labels[chosen])
    turned = turn(model, subject.test.images[chosen], DEGREES)
    assert turned.reconstructions is not None  # with a decoder
    images, lengths, reconstructions = (
        values.cpu().numpy() for values in (turned.images, turned.lengths, turned.reconstructions)
    )
    names = subject.test.manifest.class_names
    numbers = pd.DataFrame(
        {"degrees": degrees, "class": names[label], "length": length}
        for degrees, row in zip(DEGREES, lengths, strict=True)
        for label, length in enumerate(row)
    )
    figure = draw_strip(images, reconstructions, lengths, truth, names)
    frames = list(animate(images, reconstructions, lengths, truth, names))
    errors = ((images - reconstructions) ** 2).sum((1, 2, 3))
    furthest = int(errors.argmax())
    caption = (
        f"The first test image of class {names[truth]}, turned counter-clockwise, and what the first seed of "
        f"{subject.label}, trained on upright images, makes of it. {describe(lengths, truth, names)} The squared "
        f"error of the reconstruction is {errors[0]:.0f} upright and at most {errors[furthest]:.0f}, at "
        f"{DEGREES[furthest]}°."
    )
    return Drawing("rotation", "A test image turned round", caption, figure, numbers, frames)


def describe(lengths: np.ndarray, truth: int, names: Sequence[str]) -> str:
    """Say where an image with lengths (A, J) is recognised, what it is taken for elsewhere, and upside down."""
    predicted, longest = lengths.argmax(1).tolist(), lengths.max(1)
    found = stretches(predicted)
    told = {}
    for label in dict.fromkeys(predicted):
        best = int(np.where(lengths.argmax(1) == label, longest, 0).argmax())
        where = spans([stretch for stretch in found if stretch.value == label], DEGREES)
        told[label] = f"{where} (at most {longest[best]:.2f}, at {DEGREES[best]}°)"
    recognised = told.pop(truth, "at no angle")
    half = len(DEGREES) // 2
    return (
        f"It is recognised {recognised}"
        + ("; it is taken for " + listed([f"{names[label]} {where}" for label, where in told.items()]) if told else "")
        + ". The number in brackets is the length of the winning capsule. "
        f"Upside down it is taken for {names[predicted[half]]} ({longest[half]:.2f})."
    )


def draw_strip(
    images: np.ndarray, reconstructions: np.ndarray, lengths: np.ndarray, truth: int, names: Sequence[str]
) -> "Figure":
    """Draw pictures (A, C, H, W) above the lengths (A, J), angle below angle; only classes that win have a colour."""
    from matplotlib.figure import Figure

    height, left, width = 3.75, 0.95, PAGE - 1.05
    tile = width / (360 / SHOWN + 1)
    figure = Figure(figsize=(PAGE, height))

    def panel(top: float, tall: float, label: str) -> "Axes":
        place = (left / PAGE, 1 - (top + tall) / height, width / PAGE, tall / height)
        axes = figure.add_axes(place, xlim=(-SHOWN / 2, 360 + SHOWN / 2), ylim=(0, 1), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        return axes

    colours = _colours(lengths, truth)
    _draw_tiles(panel(0.05, tile, "input"), images)
    _draw_tiles(panel(0.05 + tile, tile, "reconstruction"), reconstructions)
    _draw_winners(panel(0.1 + 2 * tile, 0.17, "taken for"), lengths, colours, names)
    _draw_lengths(panel(0.37 + 2 * tile, height - 0.95 - 2 * tile, ""), lengths, colours, names)
    return figure


def _colours(lengths: np.ndarray, truth: int) -> dict[int, str]:
    """Give the true class and those that win somewhere a colour each, as far as there are colours."""
    on_white = [*COLOURS[:6], *COLOURS[7:]]  # all but yellow
    return dict(zip(dict.fromkeys([truth, *lengths.argmax(1).tolist()]), on_white, strict=False))


def _draw_tiles(axes: "Axes", images: np.ndarray) -> None:
    for degrees in range(0, 361, SHOWN):
        extent = (degrees - 0.47 * SHOWN, degrees + 0.47 * SHOWN, 0.03, 0.97)
        image = images[degrees % 360 // STEP]
        axes.imshow(displayable(image), "gray", vmin=0, vmax=1, extent=extent, aspect="auto")


def _draw_winners(axes: "Axes", lengths: np.ndarray, colours: dict[int, str], names: Sequence[str]) -> None:
    for stretch in stretches(lengths.argmax(1).tolist()):
        for low, high in pieces(stretch):
            axes.axvspan(low, high, color=colours.get(stretch.value, BEHIND), linewidth=0)
            if high - low > 5 * len(names[stretch.value]):
                place = ((low + high) / 2, 0.45)
                axes.annotate(names[stretch.value], place, ha="center", va="center", fontsize=7, color="white")


def pieces(stretch: Stretch) -> list[tuple[float, float]]:
    """Return where a stretch of `DEGREES` lies on an axis from 0 to 360: in two pieces if it goes through 0."""
    start, end = max(0, DEGREES[stretch.first] - STEP / 2), DEGREES[stretch.last] + STEP / 2
    last = stretch.last == len(DEGREES) - 1
    return [(start, 360), (0, end)] if stretch.first > stretch.last else [(start, 360 if last else end)]


def _draw_lengths(axes: "Axes", lengths: np.ndarray, colours: dict[int, str], names: Sequence[str]) -> None:
    closed = np.concatenate([lengths, lengths[:1]])
    degrees = np.array([*DEGREES, 360])
    winners = closed.argmax(1)
    for label in sorted(range(lengths.shape[1]), key=colours.__contains__):
        colour = colours.get(label, BEHIND)
        axes.plot(degrees, closed[:, label], color=colour, linewidth=0.7)
        axes.plot(degrees, np.where(winners == label, closed[:, label], np.nan), color=colour, linewidth=2)
    for label, first, last in stretches(lengths.argmax(1).tolist()):
        places = [*range(first, len(DEGREES)), *range(last + 1)] if first > last else range(first, last + 1)
        best = max(places, key=lambda place: lengths[place, label])
        top, colour = (DEGREES[best], lengths[best, label]), colours.get(label, BEHIND)
        axes.annotate(names[label], top, (0, 3), textcoords="offset points", ha="center", fontsize=8, color=colour)
    axes.set_xticks(range(0, 361, SHOWN), [f"{degrees}°" for degrees in range(0, 361, SHOWN)])
    axes.set_yticks([0, 0.5, 1])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("turned counter-clockwise by", fontsize=8)
    axes.set_ylabel("length of class capsule", rotation=90, ha="center", va="bottom", fontsize=8)
    axes.spines[["left", "bottom"]].set_visible(True)
    plain_axes(axes)


def animate(
    images: np.ndarray, reconstructions: np.ndarray, lengths: np.ndarray, truth: int, names: Sequence[str]
) -> Iterator[Image.Image]:
    """Draw a frame an angle: picture (C, H, W), reconstruction, and a bar a class; all have one palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 2.0), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    pictures = []
    for axes, shown, title in ((left, images, "input"), (middle, reconstructions, "reconstruction")):
        pictures.append(axes.imshow(displayable(shown[0]), "gray", vmin=0, vmax=1))
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=8)
    longest: list[int] = sorted(np.argsort(-lengths.max(0), kind="stable")[:BARS].tolist())
    bars = right.barh([names[label] for label in longest], lengths[0, longest])
    right.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    right.invert_yaxis()
    right.tick_params(labelsize=8)
    right.set_title("length of class capsule", fontsize=8)
    right.spines[["top", "right"]].set_visible(False)
    left.set_xlabel("0°", fontsize=10)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what moves from here on takes no other room
    drawn = []
    for degrees, row in zip(DEGREES, lengths, strict=True):
        for picture, each in zip(pictures, (images, reconstructions), strict=True):
            picture.set_data(displayable(each[degrees // STEP]))
        for bar, label in zip(bars, longest, strict=True):
            bar.set_width(row[label])
            bar.set_color((COLOURS[0] if label == truth else COLOURS[1]) if label == row.argmax() else BEHIND)
        left.set_xlabel(f"{degrees}°")
        canvas.draw()  # type: ignore[no-untyped-call]
        drawn.append(np.array(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]
    film = Image.fromarray(np.concatenate(drawn)).quantize(PALETTE, dither=Image.Dither.NONE)
    height, width = drawn[0].shape[:2]
    for top in range(0, len(drawn) * height, height):
        yield film.crop((0, top, width, top + height))
