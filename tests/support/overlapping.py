"""Images that overlap."""

SHIFT = 2  # pixels that each of two images is moved by at most
