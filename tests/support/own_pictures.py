"""Pictures as somebody might take them: three shapes of any colour, place, size and turn, on bright backgrounds."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("disc", "star", "stripe")
SIDE = 96


def draw(shape: str, generator: np.random.Generator) -> Image.Image:
    """Draw one picture, wider than high like a photograph, with noise as of a camera."""
    width, height = SIDE * 4 // 3, SIDE
    background = generator.integers(150, 256, 3)
    colour = tuple(int(level) for level in generator.integers(0, 110, 3))
    picture = Image.new("RGB", (width, height), tuple(int(level) for level in background))
    pen = ImageDraw.Draw(picture)
    radius = generator.uniform(0.22, 0.36) * SIDE
    x, y = generator.uniform(0.42, 0.58, 2) * (width, height)
    turn = generator.uniform(0, 2 * np.pi)
    if shape == "disc":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        spikes = {"star": 5, "stripe": 1}[shape]
        around = np.arange(2 * spikes) * np.pi / spikes + turn
        reach = radius * np.where(np.arange(2 * spikes) % 2, 0.4 if shape == "star" else 1.0, 1.0)
        corners = [(x + r * np.cos(angle), y + r * np.sin(angle)) for r, angle in zip(reach, around, strict=True)]
        if shape == "star":
            pen.polygon(corners, fill=colour)
        else:
            pen.line(corners, fill=colour, width=int(radius / 2))
    noise = generator.normal(0, 8, (height, width, 3))
    return Image.fromarray((np.asarray(picture) + noise).round().clip(0, 255).astype(np.uint8))


def write_pictures(folder: Path, train: int, test: int, seed: int = 0) -> None:
    """Write so many pictures of each class to folder/train/<class>/ and folder/test/<class>/."""
    generator = np.random.default_rng(seed)
    for split, number in (("train", train), ("test", test)):
        for shape in SHAPES:
            (folder / split / shape).mkdir(parents=True)
            for index in range(number):
                draw(shape, generator).save(folder / split / shape / f"{index:04}.jpg")
