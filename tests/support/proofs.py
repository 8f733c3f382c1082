"""A repository with a run in dvc.lock, and changes of its code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tiny_project import ROOT, make_project, tiny_params, write_params
from warm_python import warm

from pipeline.apps.proving.lock_file import LockedStage, code_entry, locked_stages, read_lock

LOCK = Path("dvc.lock")
LOSSES = Path("capsnet/networks/losses.py")
ROOM = "capsnet/networks"  # what dvc.yaml names
STAGES = ("train@toy-fc", "evaluate@toy-fc")
FOR_ALL = {"brightness": 10.0, "flip": True, "seeds": [1]}


def called(*command: str, status: int = 0) -> str:
    """Run a command that has to end with a status; return what it said."""
    variables = warm(environment(), throughout=True)
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}


def commit(message: str) -> str:
    called("git", "add", "--all")
    author = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    called("git", *author, "commit", "--quiet", "--message", message)
    return called("git", "rev-parse", "HEAD").strip()


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, path
    path.write_text(text.replace(before, after))


def say_more(path: Path) -> None:
    path.write_text(f"{path.read_text()}# It says more.\n")


def set_run(**settings: Any) -> None:
    params = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    params["runs"]["toy-fc"] |= settings
    write_params(Path(), params)


def move_the_losses() -> None:
    """Put functions into a file of their own."""
    Path("capsnet/networks/margin.py").write_text(LOSSES.read_text())
    LOSSES.write_text('"""Losses."""\n\nfrom capsnet.networks.margin import *  # noqa: F403\n')


def make_repository(folder: Path) -> None:
    """Make a project with the code of now, in git; the working directory is its folder."""
    make_project(folder)
    write_params(folder, tiny_params())
    set_run(**FOR_ALL)
    for name in ("capsnet", "pipeline", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, folder / name)
    called("git", "init", "--quiet")
    commit("Begin")


def write_made_up_lock() -> None:
    from dvc.utils.serialize import dumps_yaml

    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(Path("params.yaml").read_text())
    asked = {"train": {"runs.toy-fc": params["runs"]["toy-fc"], "seeds": params["seeds"]}}
    asked["evaluate"] = {"test_pairs": params["test_pairs"]}
    nowhere = {"hash": "md5", "md5": "0" * 32 + ".dir", "size": 1, "nfiles": 1}
    metrics = [f"reports/toy/metrics/toy-fc{end}" for end in ("-confusion.csv", "-history.csv", ".json")]
    metrics += ["reports/scores/toy-fc.json", "reports/curves/toy-fc.csv"]
    outs = {"train": ["models/toy-fc"], "evaluate": metrics}
    stages = yaml.load(Path("dvc.yaml").read_text())["stages"]
    entries = {}
    for stage, values in asked.items():
        paths = [
            dep.replace("${key}", "toy-fc").replace("${item.dataset}", "squares") for dep in stages[stage]["do"]["deps"]
        ]
        entries[f"{stage}@toy-fc"] = {
            "cmd": f"python -m pipeline.{stage} toy-fc",
            "deps": [
                {"path": path, **nowhere} if path.startswith("models/") else code_entry(path, Path())
                for path in sorted(paths)
            ],
            "params": {"params.yaml": values},
            "outs": [{"path": path, **nowhere} for path in outs[stage]],
        }
    LOCK.write_text(dumps_yaml({"schema": "2.0", "stages": entries}))


def renewed() -> list[LockedStage]:
    return locked_stages(STAGES, read_lock(), Path())
