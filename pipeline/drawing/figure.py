"""A figure and its files: PNG for the screen, PDF for a paper, CSV with its numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from capsnet.files import whole_file, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox
    from PIL.Image import Image

INDEX = "figures.json"
DPI = 200
SECONDS_A_FRAME = 0.12
NOTE_POINTS = 7.5
LINE = 0.13  # inches between two lines of the note
LETTERS_AN_INCH = 15


class Drawing(NamedTuple):
    """One figure, with words computed from its data."""

    name: str  # of its files
    title: str  # what it shows, in a few words
    finding: str  # one sentence, with its number
    caption: str  # how to read it, in at most two sentences
    figure: "Figure"
    numbers: pd.DataFrame | None = None  # what is drawn, written beside the figure as CSV
    frames: "Sequence[Image]" = ()  # the animation


def save(drawings: Sequence[Drawing], folder: Path, facts: Mapping[str, Any]) -> list[Path]:
    """Write <name>.png, .pdf, .csv and .gif of each drawing into `folder`, and return the paths of the PNGs.

    `figures.json` lists the drawings in order, with the `facts` that hold for all of them: data set, note about the
    data, runs. The note is also written below each figure. Equal figures give equal bytes: no file holds a time.
    """
    note = f"{facts['dataset']}: {facts['note']}" if facts["note"] else ""
    listed = []
    for drawing in drawings:
        stem = folder / drawing.name
        area = write_below(drawing.figure, note) if note else None
        with whole_file(stem.with_suffix(".png")) as temporary:
            drawing.figure.savefig(temporary, format="png", dpi=DPI, bbox_inches=area)
        with whole_file(stem.with_suffix(".pdf")) as temporary:
            drawing.figure.savefig(temporary, format="pdf", metadata={"CreationDate": None}, bbox_inches=area)
        if drawing.numbers is not None:
            write_whole(stem.with_suffix(".csv"), drawing.numbers.to_csv(index=False, lineterminator="\n"))
        if drawing.frames:
            first, *others = drawing.frames
            with whole_file(stem.with_suffix(".gif")) as temporary:
                milliseconds = round(1000 * SECONDS_A_FRAME)
                first.save(temporary, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
        words = {key: getattr(drawing, key) for key in ("title", "finding", "caption")}
        listed.append({"name": drawing.name, **words})
    index = json.dumps({**facts, "figures": listed}, indent=2, ensure_ascii=False)
    write_whole(folder / INDEX, index + "\n")
    return [folder / f"{drawing.name}.png" for drawing in drawings]


def write_below(figure: "Figure", note: str) -> "Bbox":
    """Write a note below a figure, no wider than it, and return the area that holds both, in inches."""
    from matplotlib.transforms import Bbox

    width, height = figure.get_size_inches()
    lines = wrap(note, int(LETTERS_AN_INCH * width))
    figure.text(0.5, 0, "\n".join(lines), ha="center", va="top", fontsize=NOTE_POINTS)
    if figure.legends:  # they would move to the lower edge of the larger area, onto the note
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    for legend in figure.legends:
        legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
    return Bbox.from_extents(0, -LINE * (len(lines) + 0.5), width, height)
