"""A folder that cannot be written ends a stage with one line and status 2; when it can, the same command continues.

The stages are real processes that obey permissions, as those of root otherwise do not.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from disks import obey_permissions
from tiny_project import ROOT

PLACES = {
    "data": ("prepare", "squares"),
    "models": ("train", "toy-fc"),
    ".scratch": ("train", "toy-fc"),
    "reports": ("evaluate", "toy-fc"),
}


def run(stage: str, name: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", f"pipeline.{stage}", name],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=obey_permissions,
    )


@pytest.mark.slow
@pytest.mark.parametrize("folder", PLACES)
def test_a_read_only_folder_ends_a_stage_in_one_line(folder: str, project: Path) -> None:
    from pipeline import evaluate, prepare, train

    name, argument = PLACES[folder]
    stages = {"prepare": prepare.main, "train": train.main, "evaluate": evaluate.main}
    for stage, before in (("prepare", "squares"), ("train", "toy-fc")):
        if stage == name:
            break
        stages[stage]([before])
    place = project / folder
    place.mkdir(exist_ok=True)
    place.chmod(0o555)
    ended = run(name, argument)
    place.chmod(0o755)
    assert ended.returncode == 2, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert folder in line
    assert line.endswith("; make it writable, then the same command continues")
    assert "Traceback" not in ended.stderr
    stages[name]([argument])


def test_a_file_that_cannot_be_read_is_to_be_made_readable(project: Path) -> None:
    (project / "params.yaml").chmod(0o000)
    ended = run("prepare", "squares")
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert "params.yaml" in line
    assert line.endswith("; make it readable, then the same command continues")


def test_a_process_of_root_may_obey_permissions(tmp_path: Path) -> None:
    """Otherwise the test above would pass for users, and prove nothing for root."""
    (tmp_path / "closed").mkdir(mode=0o555)
    command = (sys.executable, "-c", "open('closed/file', 'w')")
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, preexec_fn=obey_permissions)
    assert b"PermissionError" in ended.stderr
