"""A file is written whole or not at all, and never into an earlier one."""

import importlib
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from disks import fill_disk
from every_stage import ORDER, run_stage

from pipeline.runtime import command_line

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


@pytest.mark.parametrize(
    "stages",
    [
        [("prepare", ["squares"]), ("train", ["toy-fc"]), ("evaluate", ["toy-fc"]), ("tabulate", ["toy-robustness"])],
        pytest.param(ORDER, marks=pytest.mark.slow),
    ],
    ids=["four stages", "every stage"],
)
def test_what_a_stage_wrote_is_replaced_and_never_written_into(
    stages: list[tuple[str, list[str]]], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC's cache and MLflow have the same files under other names."""
    names = ("data", "models", "reports", "mlartifacts", "params.yaml", "squares.npz")
    for name in names:
        if (finished / name).is_dir():
            shutil.copytree(finished / name, tmp_path / name, copy_function=os.link)
        else:
            shutil.copy(finished / name, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_nlink > 1]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    kept = {path: (finished / path.relative_to(tmp_path)) for path in files}
    monkeypatch.chdir(tmp_path)
    for name, arguments in stages:
        run_stage(name, arguments)
    assert sum(path.stat().st_ino != before[path][0] for path in files) > len(stages)
    for path in files:
        assert kept[path].stat().st_mtime_ns == before[path][1], path


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
        command_line.run_stage(partial(importlib.import_module(f"pipeline.{module}").main, [name]))
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert last.startswith("error: ")
    assert "No space left on device" in last
    assert all(path.read_bytes() == text for path, text in texts.items() if path.exists())
