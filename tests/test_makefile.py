"""The Makefile, in a folder of its own where nothing is built: what it says when it cannot do its work."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_project import ROOT

PIP = """#!/bin/sh
[ "$2" = pip ] && { echo "no network" >&2; exit 1; }
exec %s "$@"
"""
BUILDING = "building .venv: some minutes, several GB"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Return how `make` ended, and what it said but for make's own lines."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", *arguments], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    return done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("make")]


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def maker_of_environments(folder: Path) -> Path:
    """Return a program that stands for a Python that makes environments: the environment is there already."""
    return executable(folder / "python", f'#!/bin/sh\n[ "$2" = venv ] || exec {sys.executable} "$@"\n')


@pytest.mark.parametrize("python", ["./none", "./old"])
def test_a_python_that_is_missing_or_too_old_is_named_with_the_way_out(folder: Path, python: str) -> None:
    executable(folder / "old", f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.exit(1)'\n")
    status, said = make(folder, "check", f"PYTHON={python}")
    assert status == 2
    assert said == [
        f"error: PYTHON: got {python}, expected Python 3.11, 3.12 or 3.13; name one: make env PYTHON=python3.12"
    ]


def test_without_a_network_the_environment_is_not_taken_for_built(folder: Path) -> None:
    executable(folder / ".venv/bin/python", PIP % sys.executable)
    status, said = make(folder, "check", f"PYTHON={maker_of_environments(folder)}")
    assert status == 2
    assert said[:2] == [BUILDING, "no network"]
    assert said[2].startswith("error: not all packages could be installed; is there a network, and room on the disk?")
    assert not (folder / ".venv/.built").exists()


def test_the_environment_is_built_alone_and_its_cost_is_said_once(folder: Path) -> None:
    for program in ("python", "uv"):
        executable(folder / ".venv/bin" / program, "#!/bin/sh\n")
    for said in ([BUILDING], []):
        assert make(folder, "env", f"PYTHON={maker_of_environments(folder)}") == (0, said)
        assert (folder / ".venv/.built").exists()


def test_a_port_that_is_in_use_is_named_before_any_address_is_printed(folder: Path) -> None:
    executable(folder / ".venv/.built", "")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, said = make(folder, "ui", f"PORT={port}", "MLFLOW_TRACKING_URI=")
    assert status == 2
    assert said == [f"error: PORT: {port} is in use, or is not allowed; name another: make ui PORT=..."]


def test_help_needs_no_environment_and_names_every_target(folder: Path) -> None:
    status, said = make(folder)
    assert (status, said) == (0, [])
    assert not (folder / ".venv").exists()
