"""What all stages leave in MLflow, in tensorboard and in the scratch folder."""

import json
from pathlib import Path

import pandas as pd
import pytest
from every_stage import REPORTS
from stored import select


def test_mlflow_has_a_parent_a_run_with_a_child_a_seed_and_test_scores_on_both(there: Path) -> None:
    store = there / "mlflow.db"
    named = dict(select(store, "select name, run_uuid from runs where name like 'toy-fc' or name like 'toy-fc seed %'"))
    assert set(named) == {"toy-fc", "toy-fc seed 0", "toy-fc seed 1"}
    parents = select(store, "select run_uuid from tags where key = 'mlflow.parentRunId' and value = ?", named["toy-fc"])
    assert {parent for (parent,) in parents} == {named["toy-fc seed 0"], named["toy-fc seed 1"]}
    of = {
        name: dict(select(store, "select key, value from latest_metrics where run_uuid = ?", run))
        for name, run in named.items()
    }
    per_seed = {"train_loss", "train_rloss", "train_mloss", "train_accuracy", "val_loss", "val_rloss", "val_mloss"}
    per_seed |= {"lr", "alpha"}
    assert per_seed | {"val_accuracy", "images_per_second", "test_accuracy", "test_rloss", "test_mloss"} == set(
        of["toy-fc seed 0"]
    )
    metrics = json.loads((there / REPORTS / "metrics/toy-fc.json").read_text())
    assert of["toy-fc"]["test_accuracy"] == pytest.approx(metrics["accuracy_mean"])
    assert of["toy-fc"]["test_accuracy_std"] == pytest.approx(metrics["accuracy_std"])
    assert of["toy-fc seed 1"]["test_rloss"] == pytest.approx(metrics["seeds"]["1"]["rloss"])


def test_mlflow_nests_each_trial_in_its_search_and_no_run_stays_open(there: Path) -> None:
    store = there / "mlflow.db"
    ((search,),) = select(store, "select run_uuid from runs where name = 'tune toy'")
    trials = select(store, "select count(*) from tags where key = 'mlflow.parentRunId' and value = ?", search)
    assert trials == [(4,)]
    assert select(store, "select distinct status from runs") == [("FINISHED",)]


def test_mlflow_keeps_model_data_set_settings_and_provenance(there: Path) -> None:
    store = there / "mlflow.db"
    ((run,),) = select(store, "select run_uuid from runs where name = 'toy-fc seed 0'")
    ((artifacts,),) = select(store, "select artifact_location from logged_models where source_run_id = ?", run)
    folder = Path(artifacts.removeprefix("file://"))
    assert (folder / "data/seed-0.safetensors").read_bytes() == (
        there / "models/toy-fc/seed-0.safetensors"
    ).read_bytes()
    assert select(store, "select name from datasets")[0] == ("squares",)
    params = dict(select(store, "select key, value from params where run_uuid = ?", run))
    assert {"run": "toy-fc", "seed": "0", "lr": "0.01"}.items() <= params.items()
    tags = dict(select(store, "select key, value from tags where run_uuid = ?", run))
    assert {"device", "seed", "version.torch", "fingerprint"} <= tags.keys()
    ((parent,),) = select(store, "select artifact_uri from runs where name = 'toy-fc'")
    figures = Path(parent.removeprefix("file://")) / "figures/toy-decoders"
    assert {path.name for path in figures.iterdir()} == {"curves.png", "reconstructions.png"}


def test_mlflow_has_the_decoder_of_primary_capsules_with_its_loss(there: Path) -> None:
    store = there / "mlflow.db"
    ((loss,),) = select(
        store,
        "select value from latest_metrics join runs using (run_uuid) "
        "where name = 'squares-primary' and key = 'train_rloss'",
    )
    history = pd.read_csv(there / "models/squares-primary/history.csv")
    assert loss == pytest.approx(history["train_rloss"].iloc[-1])


def test_tensorboard_has_event_files_for_each_seed(there: Path) -> None:
    assert {path.parent.name for path in (there / "tensorboard/toy-fc").rglob("events*")} == {"seed-0", "seed-1"}


def test_only_locks_and_the_journal_of_the_search_are_left_in_the_scratch_folder(there: Path) -> None:
    scratch = there / ".scratch"
    left = [path for path in scratch.rglob("*") if path.is_file()]
    top = {path.name for path in left if path.parent == scratch}
    assert top <= {"mlflow.lock", "workspace", "workspace.lock"}
    assert {path.name for path in left if path.parent.parent == scratch / "tune/toy"} == {"journal.log", "lock"}
    assert len(left) == len(top) + 2
