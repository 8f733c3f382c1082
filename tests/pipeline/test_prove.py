"""The proof that a change of the code changes no number, and what it writes into dvc.lock."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from tiny_project import ROOT, make_project, tiny_params, write_params

from pipeline.proving.differences import of_metrics, of_rows, of_tensors

LOCK = Path("dvc.lock")
MARGIN = "capsnet/losses.py"


def called(*command: str, status: int = 0, cwd: Path | None = None) -> str:
    """Run a command that has to end with a status; return what it said."""
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def prove(*arguments: str, status: int = 0) -> list[str]:
    return called(sys.executable, "-m", "pipeline.prove", *arguments, status=status).splitlines()


def commit(folder: Path, message: str) -> str:
    author = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    called("git", "add", "--all", cwd=folder)
    called("git", *author, "commit", "--quiet", "--message", message, cwd=folder)
    return called("git", "rev-parse", "HEAD", cwd=folder).strip()


def edit(path: str, before: str, after: str) -> None:
    text = Path(path).read_text()
    assert text.count(before) == 1, path
    Path(path).write_text(text.replace(before, after))


def stages() -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(LOCK.read_text())["stages"])


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in git with one run trained and scored through DVC, to be copied."""
    folder = make_project(tmp_path_factory.mktemp("trained"))
    params = tiny_params()
    params["runs"]["toy-fc"] |= {"flip": True, "brightness": 10.0, "seeds": [1]}
    write_params(folder, params)
    for name in ("capsnet", "pipeline", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, folder / name)
    called("git", "init", "--quiet", cwd=folder)
    commit(folder, "Begin")
    called("dvc", "repro", "-q", "evaluate@toy-fc", cwd=folder)
    commit(folder, "Train")
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def move_a_function() -> None:
    """Give the recognised class a file of its own."""
    text = Path(MARGIN).read_text()
    Path("capsnet/margins.py").write_text(text)
    Path(MARGIN).write_text('"""Losses."""\n\nfrom capsnet.margins import *  # noqa: F403\n')
    dvc = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(dvc.replace(f"- {MARGIN}\n", f"- {MARGIN}\n        - capsnet/margins.py\n"))


@pytest.mark.slow
def test_code_that_moved_is_named_for_the_models_that_there_are(project: Path) -> None:
    before, there = stages(), LOCK.read_text()
    move_a_function()
    assert "changed deps" in called("dvc", "status", "evaluate@toy-fc")
    print(prove("toy-fc"))
    print(called("git", "diff", "--", "dvc.lock"))
    print(called("dvc", "status", "evaluate@toy-fc"))
    assert 0
