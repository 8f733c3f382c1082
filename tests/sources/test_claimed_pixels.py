"""A picture that claims more pixels than its file can hold is refused before any memory is taken for it."""

import struct
from pathlib import Path

import pytest
from PIL import Image

from capsnet.sources.folder import open_picture


def test_a_tiny_file_that_claims_a_huge_picture_is_refused_and_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.gif"
    Image.new("L", (20, 20)).save(path)
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", 12_000, 12_000)  # the size of the screen
    path.write_bytes(content)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it takes memory for the pixels"))
    with pytest.raises(ValueError, match=rf"got 12000x12000 pixels in {len(content)} bytes, expected a whole picture"):
        open_picture(path)


@pytest.mark.parametrize(("mode", "side"), [("1", 4000), ("L", 2000), ("RGB", 1900)])
def test_an_empty_page_that_packs_well_is_opened(mode: str, side: int, tmp_path: Path) -> None:
    path = tmp_path / "page.png"
    Image.new(mode, (side, side), "white").save(path, optimize=True)
    assert open_picture(path).picture.size == (side, side)


def test_what_is_no_picture_is_explained_as_before(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    with pytest.raises(ValueError, match="cannot identify image file"):
        open_picture(tmp_path / "note.png")
