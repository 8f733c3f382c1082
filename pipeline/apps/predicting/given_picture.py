"""Pictures that somebody gives to a network: opened only if their file can hold what it says."""

import warnings
from pathlib import Path

from PIL import Image

from capsnet.sources.folder import Opened, open_picture

ALWAYS = 4_000_000  # pixels that are opened from a file of any size
EACH_BYTE = 10_000  # pixels; an empty page packs up to 8,000 into a byte


def open_given(path: Path) -> Opened:
    """Open a picture whose number of pixels fits the size of its file. Raises ValueError like `open_picture`.

    So a file of a few bytes that claims to be 10,000 pixels wide costs no memory.
    """
    width, height = _claimed(path)
    if width * height > ALWAYS and width * height > ALWAYS + EACH_BYTE * path.stat().st_size:
        raise ValueError(f"got {width}x{height} pixels in {path.stat().st_size} bytes, expected a whole picture")
    return open_picture(path)


def _claimed(path: Path) -> tuple[int, int]:
    """Return the width and height that a file claims; 0 if it cannot be opened, as `open_picture` will explain."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            return picture.size
    except Exception:
        return 0, 0
