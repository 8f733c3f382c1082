"""What stops a user on the first day: another Python, a missing program, nothing made yet, a full disk."""

import importlib
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from disks import fill_disk
from tiny_project import ROOT

from pipeline.runtime.command_line import run_stage

# Each stage that writes results after short work, and each app that writes files.
WRITERS = [
    ("prepare", "squares"),
    ("evaluate", "toy-fc"),
    ("rotate", "toy-fc"),
    ("decode", "squares"),
    ("tabulate", "toy-decoders"),
    ("compare", "toy-decoders"),
    ("draw", "squares"),
    ("separate", "toy-pairs"),
    ("publish", "toy-deconv_bn"),
    ("report", "toy"),
    ("apps.results", "toy"),
]


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


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), WRITERS, ids=lambda value: value)
def test_a_full_disk_is_named_in_one_line_and_leaves_no_half_written_file(
    module: str,
    name: str,
    there: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(there, tmp_path / "project", ignore=shutil.ignore_patterns("mlartifacts", ".scratch"))
    monkeypatch.chdir(folder)
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in (".json", ".csv", ".md", ".html")}
    fill_disk(monkeypatch)
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(importlib.import_module(f"pipeline.{module}").main, [name]))
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert last.startswith("error: ")
    assert "No space left on device" in last
    assert all(path.read_bytes() == text for path, text in texts.items() if path.exists())
