"""Scores are added to the runs of the models that they belong to; a model without a run is named."""

from pathlib import Path

import pytest
from lost_store import away, openings, query

from capsnet.files import md5
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorded_scores import record_scores

FOLDER = Path("models/toy-fc")
SCORES = {"accuracy": 90.0, "rloss": 3.0, "mloss": 0.5}
METRICS = {"epochs": 2, "seeds": {"0": SCORES, "1": SCORES, "2": SCORES}, "accuracy_mean": 90.0}


@pytest.fixture
def trained(store: Path) -> Path:
    """A store with the runs of two of three models, nested in a run of all seeds."""
    FOLDER.mkdir(parents=True)
    for seed in range(3):
        (FOLDER / f"seed-{seed}.safetensors").write_text(f"model {seed}")
    with record_run("test", "all", tags={"kind": "run"}) as parent:
        for seed in range(2):
            tags = {"kind": "seed", "model": md5(FOLDER / f"seed-{seed}.safetensors")}
            with record_run("test", f"seed {seed}", tags=tags, parent=parent):
                pass
    return store


def test_the_store_is_opened_once_for_all_seeds_and_a_model_without_a_run_is_named(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = openings(monkeypatch)
    record_scores(FOLDER, METRICS, "evaluate")
    assert len(opened) == 1
    scores = "select name, value from metrics join runs using (run_uuid) where key = 'test_accuracy' order by name"
    assert query(scores) == [("all", 90.0), ("seed 0", 90.0), ("seed 1", 90.0)]
    said = capsys.readouterr().out
    assert said.startswith(f"{FOLDER}/seed-2.safetensors: no MLflow run trained this file; ")
    assert said.count("\n") == 1


def test_a_store_that_cannot_be_used_is_one_warning(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with away(trained):
        record_scores(FOLDER, METRICS, "evaluate")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"warning: MLflow: sqlite:///{trained} cannot be used: ")
    assert said.err.endswith("; the scores are in files\n")
    assert said.err.count("\n") == 1
