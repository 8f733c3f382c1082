"""Locks between processes. To look whether one is held neither changes nor holds it."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
from disks import obey_permissions
from tiny_project import ROOT

from pipeline.runtime.locks import LOCK, is_held, try_lock


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A lock that a process held and released."""
    path = tmp_path / LOCK
    held = try_lock(path)
    assert held is not None
    held.close()
    return path


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    assert not is_held(path)
    assert not path.exists()
    held = try_lock(path)
    assert held is not None
    assert is_held(path)
    assert try_lock(path) is None
    held.close()
    assert not is_held(path)


def test_a_process_that_only_looks_is_not_named_as_the_holder(released: Path) -> None:
    released.write_text('{"process": 1, "host": "elsewhere", "since": 0, "starter": 0}')
    before = released.read_bytes()
    assert not is_held(released)
    assert released.read_bytes() == before


def test_two_processes_that_look_at_the_same_time_do_not_take_each_other_for_the_holder(released: Path) -> None:
    with released.open("rb") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        assert not is_held(released)


def test_a_lock_of_another_user_can_be_looked_at(released: Path) -> None:
    released.chmod(0o444)
    code = (
        f"from pathlib import Path; from pipeline.runtime.locks import is_held; print(is_held(Path({str(released)!r})))"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, cwd=ROOT, preexec_fn=obey_permissions, capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
