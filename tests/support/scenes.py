"""Drawn photographs of handwritten digits: one digit of a data set, on paper or a board, as a phone would see it.

Axes: S size of the data's images, H W height and width, C colours.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

HEIGHT, WIDTH = 640, 480
WHITE, CREAM = (238, 238, 235), (236, 230, 214)
BLACK, BLUE, RED, PENCIL = (35, 35, 40), (35, 55, 150), (185, 40, 50), (120, 120, 122)
Colour = tuple[int, int, int]


class Scene(NamedTuple):
    """What a photograph shows beside the digit."""

    ground: Colour = WHITE
    ink: Colour = BLACK
    strength: float = 0.95  # of the ink, 1 covers the ground
    lines: str = ""  # "lined" or "squared"
    shadow: bool = False
    at_border: bool = False
    stain: bool = False
    desk: str = ""  # how the sheet lies on a dark desk: "straight", "rotated", "cut off" or "in perspective"


SCENES = {
    "white": Scene(),
    "cream": Scene(ground=CREAM),
    "lined": Scene(lines="lined"),
    "squared": Scene(lines="squared"),
    "blackboard": Scene(ground=(48, 62, 54), ink=(225, 225, 215), strength=0.85),
    "shadow": Scene(shadow=True),
    "blue": Scene(ink=BLUE),
    "red": Scene(ink=RED),
    "pencil": Scene(ink=PENCIL, strength=0.8),
    "border": Scene(at_border=True),
    "blue on lined paper": Scene(ink=BLUE, lines="lined"),
    "pencil on squared paper": Scene(ink=PENCIL, strength=0.9, lines="squared"),
    "lined paper in a shadow": Scene(ink=BLUE, lines="lined", shadow=True),
    "desk": Scene(desk="straight"),
    "rotated on a desk": Scene(desk="rotated"),
    "lined paper, rotated on a desk": Scene(ink=BLUE, lines="lined", desk="rotated"),
    "cut off on a desk": Scene(desk="cut off"),
    "perspective": Scene(ink=BLUE, desk="in perspective"),
    "stain": Scene(stain=True),
}
DESKS = ((45, 40, 38), (74, 50, 34), (22, 22, 26), (58, 66, 76), (104, 76, 52))


def photograph(
    images: Sequence[np.ndarray], scene: Scene, random: np.random.Generator, desks: Sequence[Colour] = DESKS
) -> Image.Image:
    """Return a photograph of digits in a row, each uint8 (S, S), bright on black; a desk has one of the colours."""
    page = np.ones((HEIGHT, WIDTH, 3)) * np.array(scene.ground)
    for mark, colour in _ruled(scene, random):
        page = _covered(page, mark, colour)
    if scene.stain:
        page = _covered(page, _stain(random), (150, 105, 60))
    ink = _written(images, scene, random)
    page = _covered(page, scene.strength * ink, scene.ink)
    if scene.desk:
        page = _on_desk(page, _placement(ink, scene.desk, random), desks[random.integers(len(desks))], random)
    page *= _light(scene, random)[..., None]
    page = ndimage.gaussian_filter(page, (random.uniform(0.4, 1.2),) * 2 + (0,))
    page += random.normal(0, random.uniform(1, 4), page.shape)
    file = BytesIO()
    Image.fromarray(page.round().clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=80)
    return Image.open(file)


def _covered(page: np.ndarray, mark: np.ndarray, colour: Colour) -> np.ndarray:
    """Lay a colour on a page where `mark` (H, W) is above 0; 1 covers the page."""
    return page + mark[..., None] * (np.array(colour) - page)


def _written(images: Sequence[np.ndarray], scene: Scene, random: np.random.Generator) -> np.ndarray:
    """Return where ink is, from 0 to 1: the digits enlarged with sharp edges, and put on the page."""
    side = int(random.uniform(0.35, 0.85) * WIDTH / (1 if len(images) == 1 else len(images) * 0.8))
    ink = np.zeros((HEIGHT, WIDTH))
    total = side * len(images)
    top, left = int(random.uniform(0, HEIGHT - side)), int(random.uniform(0, max(1, WIDTH - total)))
    for number, image in enumerate(images):
        large = ndimage.zoom(image / 255, side / image.shape[0], order=3)[:side, :side]
        sharp = 1 / (1 + np.exp(-12 * (large - 0.45)))
        sharp[large < 0.1] = 0
        if scene.at_border:
            top, left = _beside_a_border(sharp, random)
        place = left + number * side
        part = ink[top : top + side, place : place + side]
        written = sharp[: part.shape[0], : part.shape[1]]
        part[: written.shape[0], : written.shape[1]] = np.maximum(part[: written.shape[0], : written.shape[1]], written)
    return ink


def _beside_a_border(written: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
    """Return top and left of a square whose ink comes within a few pixels of a border of the page, but not over it."""
    rows, columns = (np.flatnonzero((written > 0.05).any(axis)) for axis in (1, 0))
    gap = int(random.uniform(4, 12))
    top = int(random.uniform(0, HEIGHT - len(written)))
    left = int(random.uniform(0, WIDTH - len(written)))
    if random.random() < 0.5:  # the square may reach over the border: only its empty part is lost
        return max(0, HEIGHT - rows[-1] - gap), left
    return top, max(0, WIDTH - columns[-1] - gap)


def _ruled(scene: Scene, random: np.random.Generator) -> list[tuple[np.ndarray, Colour]]:
    """Return the lines of the paper and their colours: slightly tilted, sometimes with a red margin."""
    if not scene.lines:
        return []
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    tilt = np.deg2rad(random.uniform(-4, 4))
    along, down = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    pitch, wide = random.uniform(45, 90) / (1.6 if scene.lines == "squared" else 1), random.uniform(1.2, 2.6)
    colour = ((150, 180, 220), (165, 165, 175))[random.integers(2)]
    marks = [(_lines(down + random.uniform(0, pitch), pitch, wide), colour)]
    if scene.lines == "squared":
        marks.append((_lines(along + random.uniform(0, pitch), pitch, wide), colour))
    elif random.random() < 0.5:
        where = random.uniform(0.06, 0.2) * WIDTH
        marks.append((np.clip(wide - np.abs(along - where), 0, 1), (220, 110, 120)))
    return marks


def _lines(distance: np.ndarray, pitch: float, wide: float) -> np.ndarray:
    return np.clip(wide / 2 + 0.5 - np.abs((distance % pitch) - pitch / 2), 0, 1)


def _stain(random: np.random.Generator) -> np.ndarray:
    """Return where coffee has dried, from 0 to 1: a pale disc with a soft edge and a darker rim."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    radius, soft = random.uniform(60, 140), random.uniform(4, 10)
    inward = radius - np.hypot(y - random.uniform(0, HEIGHT), x - random.uniform(0, WIDTH))
    disc = 1 / (1 + np.exp(-inward / soft))
    rim = np.exp(-(((inward - soft) / (1.5 * soft)) ** 2))
    return np.asarray(random.uniform(0.1, 0.3) * disc + random.uniform(0.05, 0.2) * rim)


def _on_desk(page: np.ndarray, placement: np.ndarray, colour: Colour, random: np.random.Generator) -> np.ndarray:
    """Return a photograph of a page as a sheet on a desk with a grain."""
    inverse = np.linalg.inv(placement)
    inverse = (inverse / inverse[2, 2]).ravel()[:8].tolist()
    sheets = [Image.fromarray(page.round().clip(0, 255).astype(np.uint8)), Image.new("L", (WIDTH, HEIGHT), 255)]
    seen, mask = (
        np.asarray(each.transform((WIDTH, HEIGHT), Image.Transform.PERSPECTIVE, inverse, Image.Resampling.BICUBIC))
        for each in sheets
    )
    grain = ndimage.gaussian_filter(random.normal(0, 1, (HEIGHT, WIDTH)), (1, 40))
    desk = np.array(colour) * (1 + 0.08 * grain / grain.std())[..., None]
    return np.asarray(desk + mask[..., None] / 255 * (seen - desk))


def _placement(ink: np.ndarray, lies: str, random: np.random.Generator) -> np.ndarray:
    """Return the matrix (3, 3) that maps x, y, 1 on the page to the photograph, in which all of the ink is visible."""
    size = np.array([WIDTH, HEIGHT])
    corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])
    angle = np.deg2rad({"straight": 3, "rotated": 25, "cut off": 10, "in perspective": 8}[lies] * random.uniform(-1, 1))
    tilt = random.uniform(-0.15, 0.15, 2) * (lies == "in perspective")  # nearer to the camera at one side
    matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [*2 * tilt / size, 1]])
    matrix = matrix @ np.array([[1, 0, -WIDTH / 2], [0, 1, -HEIGHT / 2], [0, 0, 1]])
    around = np.ptp(_moved(corners, matrix), axis=0)
    scale = random.uniform(0.75, 0.97) * min(size / around)
    matrix = np.diag([scale, scale, 1]) @ matrix
    low = random.uniform(0, 1, 2) * (size - scale * around) - _moved(corners, matrix).min(0)
    matrix = _shift(*low) @ matrix
    if lies != "cut off":
        return matrix
    axis, out = random.integers(2), random.uniform(0.05, 0.3)  # share of the sheet beyond the border
    ends, written = (_moved(each, matrix)[:, axis] for each in (corners, np.argwhere(ink > 0.05)[:, ::-1]))
    if random.random() < 0.5:
        move = max(-out * np.ptp(ends) - ends.min(), 8 - written.min(initial=np.inf))
    else:
        move = min(size[axis] + out * np.ptp(ends) - ends.max(), size[axis] - 8 - written.max(initial=-np.inf))
    return _shift(*move * np.eye(2)[axis]) @ matrix


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map points x, y (N, 2) in perspective."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(mapped[:, :2] / mapped[:, 2:])


def _light(scene: Scene, random: np.random.Generator) -> np.ndarray:
    """Return how bright the page is lit, from 0 to 1: brighter to one side, and darker in a shadow with an edge."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    angle = random.uniform(0, 2 * np.pi)
    light = 0.9 + random.uniform(0, 0.1) * (x * np.cos(angle) + y * np.sin(angle))
    if scene.shadow:
        angle = random.uniform(0, 2 * np.pi)
        edge = x * np.cos(angle) + y * np.sin(angle) - random.uniform(-0.3, 0.3)
        light *= 1 - random.uniform(0.3, 0.55) / (1 + np.exp(-edge / random.uniform(0.004, 0.05)))
    return light


def sheet(kinds: Sequence[str], images: np.ndarray, make: Callable[[np.ndarray, str], Image.Image]) -> Image.Image:
    """Return small copies of photographs in a grid, a row for each kind, to be looked at."""
    small = (WIDTH // 4, HEIGHT // 4)
    grid = Image.new("RGB", (small[0] * len(images), small[1] * len(kinds)))
    for row, kind in enumerate(kinds):
        for column, image in enumerate(images):
            grid.paste(make(image, kind).resize(small), (column * small[0], row * small[1]))
    return grid
