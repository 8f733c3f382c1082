"""Bounds of settings in pixels: what they may be depends on the size of the images."""

import json
from collections.abc import Iterator, Mapping

from pipeline.runtime.prepared import DATA
from pipeline.settings.datasets import LARGEST, SIDES, SMALLEST, AffNIST, Folder, OfficialFiles, SmallNORB, Source
from pipeline.settings.runs import Run


def check_sizes(run: Run, dataset: Source | None, where: str) -> None:
    """Raise ValueError for a setting in pixels that does not fit the images of the run.

    Args:
        run: The run.
        dataset: The entry of its data set, if it is known.
        where: Where the settings stand, for the message.

    The size of a user's own arrays is known as soon as they are prepared. Before, the largest images that a network
    takes count; larger ones need a crop.
    """
    side = side_of(run.dataset, dataset)
    for name, most, why in _bounds(run, side):
        got = getattr(run, name)
        if got > most or (name == "crop" and 0 < got < SMALLEST):
            least = f"0, or {SMALLEST} to {most}" if name == "crop" else f"at most {most}"
            raise ValueError(f"{where}{name}: got {got}, expected {least}: {why}")


def side_of(name: str, dataset: Source | None) -> int | None:
    """Return the side of a data set's images in pixels; None if it is not known yet."""
    match dataset:
        case Folder():
            return dataset.size
        case OfficialFiles() | SmallNORB() | AffNIST():
            return SIDES[dataset.format]
    try:
        manifest = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    side = manifest.get("image_size") if isinstance(manifest, Mapping) else None
    return side if isinstance(side, int) and side >= SMALLEST else None  # the stage that reads it names what is wrong


def _bounds(run: Run, side: int | None) -> Iterator[tuple[str, int, str]]:
    """Yield settings, the most that each may be, and why."""
    known = f"images of {side} pixels" if side else f"images of at most {LARGEST} pixels"
    largest = side or LARGEST
    field = largest  # the side of what an uncropped network sees
    yield "crop", min(largest, LARGEST), known
    if run.task == "separate":
        border = (LARGEST - (side or SMALLEST)) // 2
        yield "max_shift", max(border, 0), f"{known}, with this border, in a field of at most {LARGEST}"
        field += 2 * run.max_shift
    else:
        yield "max_shift", largest - 1, f"part of {known} must stay visible"
    seen = run.crop or min(field, LARGEST)
    # The square lies at least its own side away from each edge: see draw_patches in capsnet/data/augmentation.py.
    yield "erase", (seen - 2) // 2, f"the network sees {seen} pixels" if side or run.crop else known
