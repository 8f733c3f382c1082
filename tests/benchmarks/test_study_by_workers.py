"""What the benchmark of two workers compares and sets, without running a study."""

import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tiny_project import ROOT

from tests.benchmarks import study_by_workers


def test_every_run_gets_the_number_of_threads_and_nothing_else_changes() -> None:
    text = (ROOT / "params.yaml").read_text()
    read = YAML(typ="safe", pure=True).load
    before, after = read(text), read(study_by_workers.with_threads(text, 1))
    assert {run["threads"] for run in after["runs"].values()} == {1}
    for params in (before, after):
        for entry in [*params["runs"].values(), *params["presets"].values()]:
            entry.pop("threads", None)
    assert before == after


def test_files_that_differ_or_are_on_one_side_only_are_named(tmp_path: Path) -> None:
    for side in ("one", "other"):
        for name in ("dvc.lock", "models/digits-fc/history.csv", "reports/digits/tables/decoders.csv", "mlflow.db"):
            path = tmp_path / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("same" if name != "mlflow.db" else side)
    assert study_by_workers.differing(tmp_path / "one", tmp_path / "other") == []
    (tmp_path / "other/dvc.lock").write_text("another")
    (tmp_path / "one/models/digits-fc/history.csv").unlink()
    assert study_by_workers.differing(tmp_path / "one", tmp_path / "other") == [
        "dvc.lock",
        "models/digits-fc/history.csv",
    ]


@pytest.mark.slow
def test_a_clone_has_the_code_and_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study_by_workers.clone(tmp_path / "clone", 1)
    assert (tmp_path / "clone/pipeline/train.py").is_file()
    assert not [name for name in study_by_workers.RESULTS if (tmp_path / "clone" / name).exists()]
    status = subprocess.run(
        ["git", "status", "--porcelain", "params.yaml"],
        cwd=tmp_path / "clone",
        capture_output=True,
        text=True,
        check=True,
    )
    assert status.stdout == " M params.yaml\n"


def test_the_ways_that_are_compared_have_equal_threads() -> None:
    assert [way.threads for way in study_by_workers.WAYS] == [2, 1, 1]
    assert [way.command for way in study_by_workers.WAYS] == [
        study_by_workers.REPRO,
        study_by_workers.REPRO,
        study_by_workers.CLUSTER,
    ]
