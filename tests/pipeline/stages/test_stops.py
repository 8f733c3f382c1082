"""What stops a user on the first day: another Python, a missing program, nothing made yet."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_project import ROOT


def start(*arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Run a command of the project in this folder to its end; return its status and what it complained about."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    "module", ["pipeline.train", "pipeline.report", "pipeline.apps.predict", "pipeline.apps.cluster"]
)
def test_a_python_without_the_packages_names_the_environment(module: str) -> None:
    status, said = start("-S", "-m", module, "toy-fc")
    assert status == 2
    assert len(said) == 1
    assert said[0].startswith("error: environment: ")
    assert said[0].endswith("`make env` builds .venv, `source .venv/bin/activate` enters it")


@pytest.mark.parametrize("app", ["verify toy", "prove toy-fc"])
def test_a_program_that_is_not_installed_is_named(app: str, project: Path) -> None:
    (project / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    status, said = start("-m", *f"pipeline.apps.{app}".split(), PATH=str(project))
    assert status == 2
    assert said == ["error: git: no such program on the PATH; install it, then start the same command again"]


def test_data_that_was_not_downloaded_is_named_with_the_command_that_downloads_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    for name, raw in (("mnist", "mnist"), ("affnist", "mnist"), ("smallnorb-mono", "smallnorb")):
        status, said = start("-m", "pipeline.prepare", name)
        fault = f"datasets.{name}.raw: data/raw/{raw}: no such file or folder"
        assert (status, said) == (2, [f"error: {fault}; `dvc repro prepare@{name}` downloads it"])
