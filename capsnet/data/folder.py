"""A folder of pictures as a data set: <folder>/train/<class>/ and <folder>/test/<class>/, of any format Pillow reads.

Axes: C channels, S image size.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from capsnet.data.arrays import SPLITS, Arrays, Split, check

MODES = {1: "L", 3: "RGB"}  # by number of channels
LISTED = 10
# What Pillow raises for a file that is damaged or no picture at all.
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class Pictures(NamedTuple):
    """The data set, the file of each image by split and index, and what was changed about some of them."""

    arrays: Arrays
    files: dict[str, list[str]]
    warnings: list[str]


def read(raw: Path, size: int, channels: int) -> Pictures:
    """Read a folder as square images of `size` pixels, grey (1 channel) or in colour (3).

    The sorted names of the class folders are the order of the labels; both splits have the same classes. Images are
    sorted by class and file name; files whose name begins with a dot are passed over. A picture that is not square is
    cut to its middle, never stretched; a transparent one is laid on black; both, and enlarging, are warned of. Raises
    ValueError that lists, up to ten, every damaged file, every one that is no picture, and every class without any.
    """
    problems: list[str] = []
    files = {split: _listed(raw, split, problems) for split in SPLITS}
    class_names = sorted(set(files["train"]) | set(files["test"]))
    changes: dict[str, list[str]] = {"cut to their middle square": [], f"enlarged to {size} pixels": []}
    splits: dict[str, Split] = {}
    names: dict[str, list[str]] = {}
    for split in SPLITS:
        problems += [f"{split}/{name}: no picture" for name in class_names if not files[split].get(name)]
        paths = [(label, path) for label, name in enumerate(class_names) for path in files[split].get(name, [])]
        images = np.zeros((len(paths), channels, size, size), np.uint8)
        names[split] = [path.relative_to(raw).as_posix() for _, path in paths]
        for index, (_, path) in enumerate(paths):
            try:
                images[index], cut, enlarged = load(path, size, channels)
            except UNREADABLE as error:
                problems.append(f"{names[split][index]}: {str(error).removesuffix(f' {str(path)!r}')}")
                continue
            for change, happened in zip(changes.values(), (cut, enlarged), strict=True):
                change += [names[split][index]] * happened
        splits[split] = Split(images, np.array([label for label, _ in paths], np.int64))
    if problems:
        raise ValueError(f"{raw}: {listing(problems, 'problem')}")
    arrays = Arrays(splits["train"], splits["test"], "", tuple(class_names))
    check(arrays, str(raw))
    warnings = [f"{raw}: {change}: {listing(changed, 'picture')}" for change, changed in changes.items() if changed]
    return Pictures(arrays, names, warnings)


def listing(items: list[str], what: str) -> str:
    """Count things and name the first ten of them."""
    more = f"; and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return f"{len(items)} {what}{'s' * (len(items) != 1)}: {'; '.join(items[:LISTED])}{more}"


def load(path: Path, size: int, channels: int) -> tuple[UInt8[np.ndarray, "C S S"], bool, bool]:
    """Read one picture; return it, and whether it was cut to a square and whether it was enlarged.

    Shrinking is antialiased bilinear interpolation. Raises what Pillow does for a file it cannot read, and ValueError
    for one with more than 8 bits a channel.
    """
    with Image.open(path) as opened:
        if opened.mode.startswith(("I", "F")):
            raise ValueError(f"got mode {opened.mode}, expected 8 bits a channel")
        # Cameras store a turned picture as it came and note the turn.
        picture = ImageOps.exif_transpose(opened)
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    square = picture.convert(MODES[channels]).crop((left, top, left + side, top + side))
    pixels = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))
    return pixels.reshape(size, size, channels).transpose(2, 0, 1), picture.size != (side, side), side < size


def _listed(raw: Path, split: str, problems: list[str]) -> dict[str, list[Path]]:
    """Return the files of each class folder; what is neither is added to `problems`."""
    folder = raw / split
    if not folder.is_dir():
        raise ValueError(f"{raw}: no folder {split!r}; expected train/<class>/ and test/<class>/")
    files: dict[str, list[Path]] = {}
    for entry in _visible(folder):
        if not entry.is_dir():
            problems.append(f"{split}/{entry.name}: got a file, expected a folder for each class")
            continue
        files[entry.name] = [path for path in _visible(entry) if path.is_file()]
        problems += [
            f"{split}/{entry.name}/{path.name}: not a file, expected pictures"
            for path in _visible(entry)
            if not path.is_file()
        ]
    return files


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
