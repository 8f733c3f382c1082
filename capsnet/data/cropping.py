"""Pictures as square images: the middle square of a picture, and Pillow's mode for a number of channels."""

import warnings

from PIL import Image

MODES = {1: "L", 3: "RGB"}  # by number of channels


def middle_square(picture: Image.Image) -> Image.Image:
    """Return the middle square of a picture."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # given when the file was opened
        return picture.crop((left, top, left + side, top + side))
