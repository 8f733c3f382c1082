"""Stages as real processes in the working directory: started, killed when they have come far enough, finished."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_project import ROOT, make_project, write_params
from warm_python import warm_commands


def two_projects(
    factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch, params: dict[str, Any], interrupted: str
) -> tuple[Path, Path]:
    """Make two equal projects with prepared data, the first to be interrupted; it is the working directory then."""
    from pipeline import prepare

    folders = [make_project(factory.mktemp(name)) for name in (interrupted, "whole")]
    for folder in folders:
        write_params(folder, params)
        patch.chdir(folder)
        prepare.main(["squares"])
    patch.chdir(folders[0])
    return folders[0], folders[1]


def start(*arguments: str, python: str = sys.executable) -> "subprocess.Popen[str]":
    """Start a module with its arguments, or `-c` with a text of Python."""
    return subprocess.Popen(
        [python, *(arguments if arguments[0] == "-c" else ("-m", *arguments))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*arguments: str) -> str:
    process = start(*arguments, python=str(warm_commands() / "python"))
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def kill_when(process: "subprocess.Popen[str]", reached: Callable[[list[Path]], bool], pattern: str) -> None:
    """Kill -9 as soon as `reached(paths)` for the files that match."""
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if reached(sorted(Path(".scratch").glob(pattern))):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL, f"ended before it was killed: {said}"


def epochs_done(at_least: int) -> Callable[[list[Path]], bool]:
    """Tell when a training state has come that far."""
    from capsnet.training.checkpoint import read_history

    return lambda paths: any(len(read_history(path)) >= at_least for path in paths)
