"""What a picture is, and how it is written: PNG for the screen, PDF for a paper, and the numbers behind it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from capsnet.files import whole_file, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

INDEX = "figures.json"
DPI = 200
SECONDS_A_FRAME = 0.12


class Drawing(NamedTuple):
    """One picture: what it shows, and in `caption` what is found in it, in sentences computed from the data."""

    name: str  # of its files
    title: str
    caption: str
    figure: "Figure"
    numbers: pd.DataFrame | None = None  # behind the picture, to be written beside it
    frames: "Sequence[Image]" = ()  # the same in motion


def save(drawings: Sequence[Drawing], folder: Path, facts: Mapping[str, Any]) -> list[Path]:
    """Write <name>.png, .pdf, .csv and .gif of each drawing into `folder`, and return the paths of the PNGs.

    `figures.json` lists them in order, and has the `facts` that hold for all of them: run, command, note about the
    data. Equal pictures give equal bytes: no time gets into a file.
    """
    listed = []
    for drawing in drawings:
        stem = folder / drawing.name
        with whole_file(stem.with_suffix(".png")) as temporary:
            drawing.figure.savefig(temporary, format="png", dpi=DPI)
        with whole_file(stem.with_suffix(".pdf")) as temporary:
            drawing.figure.savefig(temporary, format="pdf", metadata={"CreationDate": None})
        if drawing.numbers is not None:
            write_whole(stem.with_suffix(".csv"), drawing.numbers.to_csv(index=False, lineterminator="\n"))
        if drawing.frames:
            first, *others = drawing.frames
            with whole_file(stem.with_suffix(".gif")) as temporary:
                milliseconds = round(1000 * SECONDS_A_FRAME)
                first.save(temporary, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
        listed.append({"name": drawing.name, "title": drawing.title, "caption": drawing.caption})
    index = json.dumps({**facts, "figures": listed}, indent=2, ensure_ascii=False)
    write_whole(folder / INDEX, index + "\n")
    return [folder / f"{drawing.name}.png" for drawing in drawings]
