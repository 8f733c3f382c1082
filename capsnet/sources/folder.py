"""A folder of pictures as a data set: <folder>/train/<class>/ and <folder>/test/<class>/, in any format Pillow reads.

Axes: C channels, S image size.
"""

import os
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from capsnet.data.arrays import SPLITS, Arrays, Split, check
from capsnet.data.cropping import MODES, middle_square

LISTED = 10  # a message names at most this many things
ALWAYS = 4_000_000  # pixels that are read from a file of any size
EACH_BYTE = 10_000  # more pixels for each byte of the file; an empty page packs up to 8,000 into one
# Errors of Pillow for a file that is damaged or no picture, with a message that can be shown.
WITH_MESSAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
# Files that Windows, macOS and network disks leave in folders, in lower case; others of theirs begin with a dot.
LEFT_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir")


class Opened(NamedTuple):
    """A picture, and Pillow's warnings about its file."""

    picture: Image.Image
    warnings: list[str]


class Loaded(NamedTuple):
    """A picture as an image, and whether it was cut or enlarged."""

    image: UInt8[np.ndarray, "C S S"]
    cut: bool  # to a square
    enlarged: bool
    warnings: list[str]


class Pictures(NamedTuple):
    """The data set, the file of each image by split and index, warnings, and the files that were ignored."""

    arrays: Arrays
    files: dict[str, list[str]]
    warnings: list[str]
    passed_over: list[str]


def read(raw: Path, size: int, channels: int) -> Pictures:
    """Read a folder as square images of `size` pixels, grey (1 channel) or in colour (3).

    Labels follow the sorted names of the class folders; both splits must have the same classes. Images are sorted by
    class and file name. Hidden files, and files that operating systems leave in folders, are ignored. A picture that is
    not square is cut to its middle square, never stretched; a transparent one gets a black background. There are
    warnings for cut and enlarged pictures, and for whatever Pillow warns about. Raises ValueError that lists up to ten
    problems: damaged files, files that are no pictures, classes without pictures, class names that are not UTF-8.
    """
    problems: list[str] = []
    passed: list[str] = []
    files = {split: _listed(raw, split, problems, passed) for split in SPLITS}
    class_names = sorted(set(files["train"]) | set(files["test"]))
    cut, enlarged, odd = "cut to their middle square", f"enlarged to {size} pixels", "read with a warning"
    changed: dict[str, list[str]] = {cut: [], enlarged: [], odd: []}
    splits: dict[str, Split] = {}
    names: dict[str, list[str]] = {}
    for split in SPLITS:
        problems += [f"{split}/{name}: no picture" for name in class_names if not files[split].get(name)]
        paths = [(label, path) for label, name in enumerate(class_names) for path in files[split].get(name, [])]
        images = np.zeros((len(paths), channels, size, size), np.uint8)
        names[split] = [path.relative_to(raw).as_posix() for _, path in paths]
        for index, (_, path) in enumerate(paths):
            name = names[split][index]
            try:
                loaded = load_picture(path, size, channels)
            except ValueError as error:
                problems.append(f"{name}: {error}")
                continue
            images[index] = loaded.image
            if loaded.cut:
                changed[cut].append(name)
            if loaded.enlarged:
                changed[enlarged].append(name)
            changed[odd] += [f"{name}: {warning}" for warning in loaded.warnings]
        splits[split] = Split(images, np.array([label for label, _ in paths], np.int64))
    if problems:
        raise ValueError(f"{raw}: {listing(problems, 'problem')}")
    arrays = Arrays(splits["train"], splits["test"], "", tuple(class_names))
    check(arrays, str(raw))
    notices = [f"{raw}: {change}: {listing(pictures, 'picture')}" for change, pictures in changed.items() if pictures]
    return Pictures(arrays, names, notices, passed)


def listing(items: list[str], what: str) -> str:
    """Return the number of items and the first ten of them, in words."""
    more = f"; and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return f"{len(items)} {what}{'s' * (len(items) != 1)}: {'; '.join(items[:LISTED])}{more}"


def passed_over(name: str) -> bool:
    """Return whether a file or folder is ignored: it is hidden, or an operating system left it."""
    return name.startswith(".") or name.lower() in LEFT_BY_SYSTEMS


def open_picture(path: Path) -> Opened:
    """Read a picture, rotated as its camera noted; of an animation, the first frame.

    Raises ValueError, whatever the decoder raises, for a file that is missing, damaged, no picture, of more than 179
    million pixels, or so small that it cannot hold the pixels that it claims: no memory is taken for them.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with Image.open(path) as opened:
                _check_claim(opened, path)
                # Cameras do not rotate the pixels, but note how the camera was held.
                picture = ImageOps.exif_transpose(opened)
        except Exception as error:
            raise ValueError(_why(error, path)) from error
    return Opened(picture, [*dict.fromkeys(" ".join(str(each.message).split()) for each in caught)])


def _check_claim(opened: Image.Image, path: Path) -> None:
    """Raise ValueError if a file is too small for its number of pixels, before they are decoded."""
    length = path.stat().st_size
    if opened.width * opened.height > ALWAYS + EACH_BYTE * length:
        raise ValueError(f"got {opened.width}x{opened.height} pixels in {length} bytes, expected a whole picture")


def load_picture(path: Path, size: int, channels: int) -> Loaded:
    """Read one picture as an image.

    It is resized by bilinear interpolation, antialiased if it shrinks. Raises ValueError for a file that cannot be
    read, and for one with more than 8 bits a channel.
    """
    picture, said = open_picture(path)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"got mode {picture.mode}, expected 8 bits a channel")
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture.convert("RGBA"))
    square = middle_square(picture.convert(MODES[channels]))
    pixels = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))
    image = pixels.reshape(size, size, channels).transpose(2, 0, 1)
    return Loaded(image, picture.size != square.size, square.width < size, said)


def _why(error: Exception, path: Path) -> str:
    """Return in one line, without the path, why a picture cannot be read."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    said = " ".join(said.removesuffix(f" {str(path)!r}").split())
    if isinstance(error, WITH_MESSAGE) and said:
        return said
    return f"cannot be read ({': '.join(filter(None, (type(error).__name__, said)))})"


def _listed(raw: Path, split: str, problems: list[str], passed: list[str]) -> dict[str, list[Path]]:
    """Return the files of each class folder; add other things to `problems`, and ignored files to `passed`."""
    folder = raw / split
    if not folder.is_dir():
        raise ValueError(f"{raw}: no folder {split!r}; expected train/<class>/ and test/<class>/")
    files: dict[str, list[Path]] = {}
    for entry in _visible(folder, raw, passed):
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(entry.name).decode(errors="backslashreplace")
            problems.append(f"{split}/{shown}: got a name that is not UTF-8, expected the name of a class")
            continue
        if not entry.is_dir():
            problems.append(f"{split}/{entry.name}: got a file, expected a folder for each class")
            continue
        inside = _visible(entry, raw, passed)
        files[entry.name] = [path for path in inside if path.is_file()]
        problems += [
            f"{split}/{entry.name}/{path.name}: not a file, expected pictures" for path in inside if not path.is_file()
        ]
    return files


def _visible(folder: Path, raw: Path, passed: list[str]) -> list[Path]:
    """Return the sorted content of a folder without ignored files, which are added to `passed`."""
    inside = sorted(folder.iterdir())
    passed += [path.relative_to(raw).as_posix() for path in inside if passed_over(path.name)]
    return [path for path in inside if not passed_over(path.name)]
