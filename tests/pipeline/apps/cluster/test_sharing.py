"""Results shared with a DVC remote: a fresh clone brings what a target needs, and runs nothing."""

from pathlib import Path

import pytest
from errands import Errands

pytestmark = pytest.mark.slow


def test_a_clone_pulls_what_a_target_needs_and_runs_nothing(
    errands: Errands, one_by_one: dict[str, bytes], tmp_path: Path
) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    errands.call("dvc", "remote", "add", "-d", "storage", str(tmp_path / "remote"))
    errands.call(*errands.command, "--workers", "2")
    errands.call("git", "add", "--all")
    errands.call("git", *who, "commit", "--quiet", "-m", "Make all")
    errands.call("dvc", "push", "--run-cache", "--with-deps", "report")
    clone = Errands(tmp_path / "clone")
    errands.call("git", "clone", "--quiet", str(errands.folder), str(clone.folder))
    clone.call("dvc", "pull", "--with-deps", "report")
    models = {path: content for path, content in one_by_one.items() if path.startswith("models/")}
    assert {str(path): (clone.folder / path).read_bytes() for path in models} == models
    (clone.folder / "tries").mkdir()
    assert "didn't change, skipping" in clone.call("dvc", "repro", "report")
    assert "0 run, 0 restored, 8 unchanged" in clone.call(*errands.command, "report", "--workers", "1")
    assert not [*(clone.folder / "tries").iterdir()]
    clone.call("dvc", "pull", "--run-cache", "--with-deps", "report")
    (clone.folder / "dvc.lock").unlink()
    assert "4 run, 4 restored" in clone.call(*errands.command, "report", "--workers", "1")
    assert not [*(clone.folder / "tries").glob("train*")]  # only metrics and a page are made again: git has them
