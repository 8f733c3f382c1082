"""Fetching official files from a test server on 127.0.0.1."""

import hashlib
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from file_server import CONTENT, FILE, WRONG, FileServer, running

from capsnet.sources.transfer import File, Unavailable, fetch, is_url


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running() as server:
        yield server


@pytest.fixture
def mirror() -> Iterator[FileServer]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Take no time between attempts, and no proxy on the way to 127.0.0.1."""
    slept: list[float] = []
    monkeypatch.setattr("capsnet.sources.transfer.time.sleep", slept.append)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return slept


def fetched(tmp_path: Path, *sources: str, file: File = FILE, attempts: int = 3) -> Path:
    return fetch(file, sources, tmp_path / "raw", tmp_path / "partial", attempts=attempts, timeout=10.0)


def leftovers(tmp_path: Path) -> list[int]:
    return [path.stat().st_size for path in (tmp_path / "partial").iterdir()]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_the_right_file_arrives_under_its_official_name(
    server: FileServer, tmp_path: Path, slash: str, chunked: bool
) -> None:
    server.chunked = chunked
    path = fetched(tmp_path, server.url + slash)
    assert path == tmp_path / "raw" / "images.gz"
    assert path.read_bytes() == CONTENT
    assert server.requests == [("/files/images.gz", None)]
    assert leftovers(tmp_path) == []


def test_a_right_file_that_is_there_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    fetched(tmp_path, server.url)
    assert fetched(tmp_path, server.url).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_wrong_file_that_is_there_is_replaced(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "images.gz").write_bytes(WRONG)
    assert fetched(tmp_path, server.url).read_bytes() == CONTENT


def test_a_wrong_checksum_is_never_under_the_final_name_and_the_next_source_is_asked(
    server: FileServer, mirror: FileServer, tmp_path: Path
) -> None:
    mirror.content = WRONG
    assert fetched(tmp_path, mirror.url, server.url).read_bytes() == CONTENT
    assert len(mirror.requests) == len(server.requests) == 1
    assert leftovers(tmp_path) == []


def test_a_file_wrong_everywhere_is_unavailable_and_leaves_nothing(
    server: FileServer, mirror: FileServer, tmp_path: Path
) -> None:
    server.content = mirror.content = WRONG
    with pytest.raises(Unavailable, match=r"images\.gz: not available") as caught:
        fetched(tmp_path, mirror.url, server.url)
    wrong = hashlib.md5(WRONG).hexdigest()
    for source in (mirror.url, server.url):
        assert f"{source}: images.gz: got md5 {wrong}, expected {FILE.md5}" in str(caught.value)
    assert list((tmp_path / "raw").iterdir()) == []
    assert leftovers(tmp_path) == []


def test_a_broken_transfer_goes_on_where_it_was(server: FileServer, tmp_path: Path, pauses: list[float]) -> None:
    server.answers = ["broken"]
    assert fetched(tmp_path, server.url).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, f"bytes={len(CONTENT) // 3}-"]
    assert pauses == [1]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_broken_transfer_is_not_taken_for_a_whole_file_even_without_a_checksum(
    server: FileServer, tmp_path: Path, chunked: bool
) -> None:
    server.chunked, server.answers = chunked, ["broken"]
    assert fetched(tmp_path, server.url, file=File("images.gz", None)).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_broken_transfer_starts_again_where_the_server_knows_no_ranges(server: FileServer, tmp_path: Path) -> None:
    server.ranges, server.answers = False, ["broken", "broken"]
    assert fetched(tmp_path, server.url).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None] + 2 * [f"bytes={len(CONTENT) // 3}-"]


def test_bytes_of_another_day_are_kept_for_the_next_call(server: FileServer, tmp_path: Path) -> None:
    server.answers = ["broken"]
    with pytest.raises(Unavailable, match="connection closed after 3413 of 10240 bytes"):
        fetched(tmp_path, server.url, attempts=1)
    assert leftovers(tmp_path) == [len(CONTENT) // 3]
    assert fetched(tmp_path, server.url, attempts=1).read_bytes() == CONTENT
    assert server.requests[1][1] == f"bytes={len(CONTENT) // 3}-"


def test_a_first_half_of_another_file_is_thrown_away_and_the_whole_fetched(server: FileServer, tmp_path: Path) -> None:
    server.content, server.answers = WRONG, ["broken"]
    with pytest.raises(Unavailable):
        fetched(tmp_path, server.url, attempts=1)
    server.content = CONTENT
    assert fetched(tmp_path, server.url).read_bytes() == CONTENT
    assert [asked is None for _, asked in server.requests] == [True, False, True]


@pytest.mark.parametrize("part", [CONTENT, WRONG + b"longer"], ids=["complete", "of another file"])
def test_a_part_with_nothing_left_to_fetch_is_taken_if_it_is_right(
    server: FileServer, tmp_path: Path, part: bytes
) -> None:
    server.content, server.answers = part, ["broken"]
    with pytest.raises(Unavailable):
        fetched(tmp_path, server.url, attempts=1)
    server.content = CONTENT
    (kept,) = (tmp_path / "partial").iterdir()
    kept.write_bytes(part)
    assert fetched(tmp_path, server.url).read_bytes() == CONTENT
    assert len(server.requests) == (2 if part == CONTENT else 3)


def test_bytes_of_two_servers_are_never_mixed(server: FileServer, mirror: FileServer, tmp_path: Path) -> None:
    mirror.content, mirror.answers = WRONG, ["broken"] * 3
    assert fetched(tmp_path, mirror.url, server.url).read_bytes() == CONTENT
    assert server.requests == [("/files/images.gz", None)]


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_server_without_the_file_is_asked_once(
    server: FileServer, mirror: FileServer, tmp_path: Path, status: int, pauses: list[float]
) -> None:
    mirror.answers = [status]
    assert fetched(tmp_path, mirror.url, server.url).read_bytes() == CONTENT
    assert len(mirror.requests) == 1
    assert pauses == []


def test_a_file_that_no_server_has_is_unavailable_by_name(server: FileServer, tmp_path: Path) -> None:
    server.answers = [404]
    with pytest.raises(Unavailable, match=f"images.gz: not available: {server.url}: no images.gz$"):
        fetched(tmp_path, server.url)


def test_a_busy_server_is_asked_again_after_growing_pauses(
    server: FileServer, tmp_path: Path, pauses: list[float]
) -> None:
    server.answers = [503, 500, 503]
    assert fetched(tmp_path, server.url, attempts=4).read_bytes() == CONTENT
    assert pauses == [1, 2, 4]


def test_a_server_that_is_not_there_is_named_and_the_next_one_asked(server: FileServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(Unavailable, match=f"images.gz: not available: {nobody}: .*refused"):
        fetched(tmp_path, nobody)
    assert fetched(tmp_path, nobody, server.url).read_bytes() == CONTENT


def test_a_folder_is_a_source(tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    (folder / "images.gz").write_bytes(CONTENT)
    assert fetched(tmp_path, str(folder)).read_bytes() == CONTENT
    assert (folder / "images.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [None, WRONG], ids=["missing", "wrong"])
def test_a_folder_without_the_right_file_passes_on_to_the_next_source(
    server: FileServer, tmp_path: Path, content: bytes | None, pauses: list[float]
) -> None:
    folder = tmp_path / "mirror"
    folder.mkdir()
    if content:
        (folder / "images.gz").write_bytes(content)
    assert fetched(tmp_path, str(folder), server.url).read_bytes() == CONTENT
    assert pauses == []


def test_without_a_source_nothing_is_to_be_had(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"images\.gz: not available: no source"):
        fetched(tmp_path)


def test_without_a_checksum_whatever_a_source_has_is_taken(server: FileServer, tmp_path: Path) -> None:
    server.content = WRONG
    assert fetched(tmp_path, server.url, file=File("images.gz", None)).read_bytes() == WRONG


def test_the_final_file_appears_only_after_its_checksum_was_right(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "raw" / "images.gz"
    moved: list[bytes] = []
    move = shutil.move

    def recording(part: Path, to: Path) -> object:
        assert to != target
        assert not target.exists()
        moved.append(part.read_bytes())
        return move(part, to)

    monkeypatch.setattr("capsnet.sources.transfer.shutil.move", recording)
    server.answers = ["broken"]
    fetched(tmp_path, server.url)
    assert moved == [CONTENT]


@pytest.mark.parametrize(
    ("source", "expected"),
    [("http://a/b", True), ("https://a", True), ("/mnt/data", False), ("data", False), ("httpdata", False)],
)
def test_urls_are_told_from_folders(source: str, expected: bool) -> None:
    assert is_url(source) is expected


def test_a_server_for_tests_ends_with_its_block_also_if_the_block_fails() -> None:
    def fail() -> None:
        with running() as server:
            raise KeyError(server.url)

    before = {*threading.enumerate()}
    with pytest.raises(KeyError):
        fail()
    assert {*threading.enumerate()} <= before
