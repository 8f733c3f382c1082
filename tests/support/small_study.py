"""Two small studies under DVC and git, with this project's code and dvc.yaml: one is made, one is not.

Commands in it are real ones, as a user calls them.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tiny_project import ROOT, TINY, make_project, tiny_params, write_params
from warm_python import warm

CODE = ("capsnet", "pipeline", ".dvc", "dvc.yaml", ".dvcignore", ".gitignore", "MLproject")
QUEUE_SECONDS = 400  # within which queued experiments end
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def small_params() -> dict[str, Any]:
    """Return parameters of two studies: `toy` with one run and one search, `rest` with one run."""
    params = tiny_params()
    params |= {key: {} for key in ("figures", "compare", "pairs", "robustness", "published_weights")}
    params["seeds"] = [0]
    params["runs"] = {"toy-fc": dict(TINY), "rest-fc": TINY | {"study": "rest"}}
    about = params["studies"]["toy"]
    params["studies"] = {
        "toy": about | {"tables": ["benchmarks"]},
        "rest": {"title": "Rest", "about": "Not made.", "tables": ["benchmarks"]},
    }
    table = params["tables"]["toy-benchmarks"]
    rest = table | {"study": "rest", "runs": [{"run": "rest-fc"}]}
    params["tables"] = {"toy-benchmarks": table, "rest-benchmarks": rest}
    return params


class SmallStudy:
    """The folder of a study, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Write the study as a fresh clone has it, and commit it."""
        self.folder.mkdir()
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *CODE],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)
        make_project(self.folder)
        write_params(self.folder, small_params())
        (self.folder / "reports/toy/figures").mkdir(parents=True)  # no stage of this study draws
        (self.folder / "reports/toy/figures/.gitkeep").touch()
        for command in (
            ["init", "--quiet"],
            ["config", "user.name", "Somebody"],
            ["config", "user.email", "somebody@example.org"],
        ):
            self.call("git", *command)
        self.commit("Begin")

    def commit(self, subject: str) -> None:
        """Commit everything that git does not ignore."""
        self.call("git", "add", "--all")
        self.call("git", "commit", "--quiet", "--message", subject)

    def copied(self, folder: Path) -> "SmallStudy":
        """Return a copy of the study, with everything that was made in it."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return SmallStudy(folder)

    def change(self, run: str, **settings: Any) -> None:
        """Write other settings of a run into params.yaml."""
        params = small_params()
        params["runs"][run] |= settings
        write_params(self.folder, params)

    def forget_runs(self) -> None:
        """Remove the store of MLflow with its artifacts."""
        (self.folder / "mlflow.db").unlink()
        shutil.rmtree(self.folder / "mlartifacts")

    def wait_for_queue(self) -> None:
        """Wait until DVC's queue has nothing to do any more."""
        deadline = time.monotonic() + QUEUE_SECONDS
        while re.search("Queued|Running", said := self.call("dvc", "queue", "status")):
            assert time.monotonic() < deadline, said
            time.sleep(1)  # each question costs a part of a second of a core

    def call(self, *command: str, status: int | None = 0, columns: int = 120, **environment: str) -> str:
        """Run a command to its end, and return what it says; None accepts any exit status."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=warm({**os.environ, "PATH": PATH, "COLUMNS": str(columns), **environment}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert status is None or done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout
