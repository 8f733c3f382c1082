"""A small study under DVC: prepare one data set, train one run of two seeds, evaluate and tabulate it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML
from tiny_project import ROOT, make_project, tiny_params, write_params
from warm_python import warm

TARGET = "tabulate@toy-decoders"
RUN = "toy-fc"
EPOCHS = 40
STAGES = ("prepare", "train", "evaluate", "tabulate")
MADE = ("data/*", f"models/{RUN}/seed-*", f"models/{RUN}/history.csv", "reports/toy/**/*", "dvc.lock")
DVC = (sys.executable, "-m", "dvc", "repro", "-q", TARGET)
PREPARE = (sys.executable, "-m", "pipeline.prepare", "squares")
STAGE = (sys.executable, "-m", "pipeline.train", RUN)


def make_study(folder: Path) -> Path:
    """Make a study whose stages are those of dvc.yaml, with the code beside it as links."""
    folder.mkdir(parents=True, exist_ok=True)
    make_project(folder)
    params = tiny_params()
    params["runs"] = {RUN: params["runs"][RUN] | {"epochs": EPOCHS}}
    params["tracking"]["tensorboard"] = False
    for part in ("tune", "figures", "compare", "pairs", "robustness", "published_weights"):
        params[part] = {}
    params["studies"]["toy"]["tables"] = ["decoders"]
    params["tables"] = {"toy-decoders": params["tables"]["toy-decoders"] | {"runs": [RUN]}}
    write_params(folder, params)
    for name in ("capsnet", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    yaml = YAML(typ="safe", pure=True)
    stages = yaml.load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    with (folder / "dvc.yaml").open("w", encoding="utf-8") as file:
        yaml.dump({"stages": {name: stages[name] for name in STAGES}}, file)
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    (folder / ".dvcignore").write_text("__pycache__/\n*.pyc\n")
    (folder / ".gitignore").write_text("/data/\n/models/\n/.scratch/\n/mlflow.db*\n/mlartifacts/\n__pycache__/\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def own_variables() -> dict[str, str]:
    """Return the environment of a user in the study."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    small = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **small, "PATH": path}


def begin(folder: Path, command: Sequence[str]) -> "subprocess.Popen[str]":
    """Start a command in a group of its own, in which Ctrl-C is not ignored. Its output goes to said.txt."""
    with (folder / "said.txt").open("a") as said:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=own_variables(),
            stdout=said,
            stderr=said,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )


def finish(folder: Path, variables: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Do what `make demo` does: mend, then run DVC to its end. Return its status and what it said.

    Processes start as quickly as they can, unless variables are given.
    """
    chosen = warm(own_variables()) if variables is None else variables
    for command in (("python", "-m", "pipeline.apps.mend"), ("dvc", "repro", "-q", TARGET)):
        ended = subprocess.run(
            command, cwd=folder, env=chosen, capture_output=True, text=True, check=False, timeout=1200
        )
    return ended.returncode, ended.stdout + ended.stderr


def made(folder: Path) -> dict[str, bytes]:
    """Return all files that the study makes, by their paths."""
    paths = [path for pattern in MADE for path in folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.name != ".gitignore"}


def difference(folder: Path, whole: dict[str, bytes]) -> str:
    """Return in words how what a study made differs from `whole`; empty if it does not."""
    ours = made(folder)
    return ", ".join(sorted(name for name in ours.keys() | whole.keys() if ours.get(name) != whole.get(name)))
