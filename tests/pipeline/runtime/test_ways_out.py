"""What a stage says before and after a disk is full, or cannot be written: where, how much, and how to go on."""

import errno
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from capsnet.networks.capsnet import ModelConfig
from capsnet.sources.transfer import Unavailable
from pipeline import download
from pipeline.runtime.advice import LONG, disk_space
from pipeline.runtime.command_line import run_stage


class Usage(NamedTuple):
    """A part of what shutil.disk_usage returns."""

    free: int


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "; all that was finished is kept. Make room there (`df -h`), then the same command continues"),
        (errno.EDQUOT, "; all that was finished is kept. Make room there (`df -h`), then the same command continues"),
        (errno.EROFS, "; make it writable, then the same command continues"),
        (errno.EACCES, "; make it writable, then the same command continues"),
        (errno.EIO, ""),
    ],
)
def test_an_error_of_the_disk_says_how_to_go_on(number: int, way_out: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number), "models/x")

    with pytest.raises(SystemExit) as ended:
        run_stage(fail)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: [Errno {number}] {os.strerror(number)}: 'models/x'{way_out}\n"


def test_a_failed_download_names_the_variable_for_a_mirror(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise Unavailable("images.gz: not available: https://example.org: no network")

    with pytest.raises(SystemExit) as ended:
        run_stage(fail, download.WAYS_OUT)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: images.gz: not available: https://example.org: no network; if this machine is offline, set "
        "CAPSNET_MIRROR to a folder or an address that has the files\n"
    )


def test_the_room_that_a_training_needs_is_compared_with_what_is_free(
    tiny_model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free=10))
    assert disk_space(tiny_model, 2, 1, tmp_path).startswith("warning: up to ")
    assert "are free; make room, or the training ends when the disk is full" in disk_space(tiny_model, 2, 1, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free=10**12))
    assert disk_space(tiny_model, 2, LONG - 1, tmp_path) == ""
    assert disk_space(tiny_model, 2, LONG, tmp_path).endswith(f"are needed in {tmp_path}, 1,000,000 MB are free")
