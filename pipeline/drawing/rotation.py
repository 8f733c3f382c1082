"""One test image rotated through 360 degrees, as a figure and as an animation.

Axes: A angles, C channels, H W height and width, J classes.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import BEHIND, COLOURS, PHONE, displayable, example, plain_axes
from pipeline.drawing.subject import Subject, with_decoder
from pipeline.drawing.words import Stretch, stretches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP = 5
DEGREES = range(0, 360, STEP)
SHOWN = 45  # degrees between neighbouring images of the strip
BARS = 10  # classes in the animation: those with the longest capsules
PALETTE = 64  # colours of a GIF


def rotation(subject: Subject) -> Drawing:
    """Draw reconstructions and capsule lengths of the first seed for one test image at every angle."""
    from capsnet.explain.rotation import turn

    model = with_decoder(subject, "rotation")
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
    caption = (
        f"From top to bottom: the first test image of class {names[truth]}, rotated counter-clockwise; its "
        f"reconstruction; the predicted class; the length of every class capsule, of which the longest is the answer. "
        f"{subject.label}, first seed, {trained_on(subject)}."
    )
    finding = describe(lengths, truth, names)
    return Drawing("rotation", "One test image, rotated through 360°", finding, caption, figure, numbers, frames)


def trained_on(subject: Subject) -> str:
    """Say whether the training images were rotated."""
    largest = subject.settings.get("rotation", 0)  # networks of an early version do not have this setting
    return f"trained on images rotated by up to {largest:g}°" if largest else "trained on upright images"


def describe(lengths: np.ndarray, truth: int, names: Sequence[str]) -> str:
    """Return the finding for one image with lengths (A, J): at how many angles it is recognised, or mistaken."""
    predicted = lengths.argmax(1)
    counts = np.bincount(predicted, minlength=lengths.shape[1])
    share = 100 * counts / len(predicted)
    half = int(predicted[len(predicted) // 2])
    upside_down = f"upside down it is {'still ' if half == truth else ''}read as {names[half]}"
    others = np.where(np.arange(len(counts)) == truth, 0, counts)
    if not others.any():
        return f"The image of class {names[truth]} is recognised at every angle."
    other = int(others.argmax())
    return (
        f"The image of class {names[truth]} is recognised at {share[truth]:.0f} % of the angles and most often "
        f"mistaken for {names[other]} ({share[other]:.0f} %); {upside_down}."
    )


def draw_strip(
    images: np.ndarray, reconstructions: np.ndarray, lengths: np.ndarray, truth: int, names: Sequence[str]
) -> "Figure":
    """Draw images (A, C, H, W) above the lengths (A, J), all over the angle. Only classes that win have a colour."""
    from matplotlib.figure import Figure

    height, left, width = 3.4, 1.1, PHONE - 1.2
    tile = width / (360 / SHOWN + 1)
    figure = Figure(figsize=(PHONE, height))

    def panel(top: float, tall: float, label: str) -> "Axes":
        place = (left / PHONE, 1 - (top + tall) / height, width / PHONE, tall / height)
        axes = figure.add_axes(place, xlim=(-SHOWN / 2, 360 + SHOWN / 2), ylim=(0, 1), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        return axes

    colours = _colours(lengths, truth)
    _draw_tiles(panel(0.05, tile, "input"), images)
    _draw_tiles(panel(0.05 + tile, tile, "reconstruction"), reconstructions)
    _draw_winners(panel(0.1 + 2 * tile, 0.17, "predicted"), lengths, colours, names)
    _draw_lengths(panel(0.37 + 2 * tile, height - 0.95 - 2 * tile, ""), lengths, colours, names)
    return figure


def _colours(lengths: np.ndarray, truth: int) -> dict[int, str]:
    """Assign a colour to the true class and to each class that wins at some angle, as long as there are colours."""
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
                axes.annotate(names[stretch.value], place, ha="center", va="center", fontsize=8, color="white")


def pieces(stretch: Stretch) -> list[tuple[float, float]]:
    """Return the intervals of a stretch of `DEGREES` on an axis from 0 to 360: two if it contains 0 in its middle."""
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
    axes.set_xlabel("rotated counter-clockwise by", fontsize=8)
    axes.set_ylabel("length of class capsule", rotation=90, ha="center", va="bottom", fontsize=8)
    axes.spines[["left", "bottom"]].set_visible(True)
    plain_axes(axes)


def animate(
    images: np.ndarray, reconstructions: np.ndarray, lengths: np.ndarray, truth: int, names: Sequence[str]
) -> Iterator[Image.Image]:
    """Draw a frame for each angle: image (C, H, W), reconstruction and a bar for each class, in one palette."""
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
    figure.set_layout_engine("none")  # later frames keep this layout
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
