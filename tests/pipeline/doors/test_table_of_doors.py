"""The tables in docs/doors.md name nothing that no test walks, and show every picture."""

import re
from pathlib import Path

from PIL import Image
from tiny_project import ROOT

PAGE = ROOT / "docs/doors.md"
LARGEST = 80_000  # bytes of a picture


def rows() -> list[list[str]]:
    """Return the cells of each row: command, what you get, pictures, test."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| (?!command |---)", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names_of_tests() -> list[str]:
    files = (path for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
    return [name for path in files for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)]


def test_each_door_has_a_test_of_its_own_that_exists_once() -> None:
    there = names_of_tests()
    named = []
    for command, gives, _, test in rows():
        assert "`" in command
        assert gives
        (name,) = re.findall(r"^`(test_\w+)`$", test)
        assert there.count(name) == 1, name
        named.append(name)
    assert len(named) == len({*named}) >= 20


def test_each_picture_is_there_small_and_shown_below_its_table() -> None:
    linked = {path for _, _, pictures, _ in rows() for path in re.findall(r"\((doors/\S+)\)", pictures)}
    shown = re.findall(r"^!\[.+\]\((\S+)\)$", PAGE.read_text(), re.MULTILINE)
    files = {f"doors/{path.name}" for path in (ROOT / "docs/doors").iterdir()}
    assert linked == {*shown} == files
    for path in files:
        assert (PAGE.parent / path).stat().st_size < LARGEST
        with Image.open(PAGE.parent / path) as image:
            assert image.width == 1280
