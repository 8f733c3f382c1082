"""Every stage end to end on the tiny project, and what their outputs promise."""

import importlib
import json
import os
import shutil
import sqlite3
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from like_a_gpu import REFUSED, Operations
from PIL import Image
from ruamel.yaml import YAML
from tiny_project import VARIANTS, make_project, tiny_params, write_params

from pipeline.runtime.paths import model_files

ORDER = [
    ("prepare", ["squares"]),
    *[("train", [run]) for run in (*VARIANTS, "toy-pairs")],
    *[("evaluate", [run]) for run in (*VARIANTS, "toy-pairs")],
    ("tune", ["toy"]),
    ("train", ["toy-tuned"]),
    ("evaluate", ["toy-tuned"]),
    ("rotate", ["toy-fc"]),
    *[("tabulate", [table]) for table in tiny_params()["tables"]],
    ("decode", ["squares"]),
    ("compare", ["toy-decoders"]),
    ("draw", ["squares"]),
    ("separate", ["toy-pairs"]),
    ("report", ["toy"]),
]
REPORTS = Path("reports/toy")


def run_stage(name: str, arguments: list[str]) -> None:
    importlib.import_module(f"pipeline.{name}").main(arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def operations() -> Operations:
    """What torch was asked for in the stages of the finished project."""
    return Operations()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, operations: Operations) -> Path:
    """The project after all of its stages."""
    folder = make_project(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI", "CAPSNET_OPTUNA_STORAGE"):
            patch.delenv(name, raising=False)
        for name, arguments in ORDER:
            with operations:
                run_stage(name, arguments)
    return folder


@pytest.fixture
def there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    return finished


def test_all_stages_leave_a_page_and_a_readme_with_every_run_and_picture(there: Path) -> None:
    page, readme = (there / REPORTS / "index.html").read_text(), (there / REPORTS / "README.md").read_text()
    assert all(run in text for run in [*VARIANTS, "toy-tuned"] for text in (page, readme))
    pictures = [path.relative_to(there / REPORTS).as_posix() for path in (there / REPORTS).rglob("*.png")]
    assert page.count("data:image/webp;base64,") == len(pictures) >= 6
    assert all(f'"{picture}"' in text for picture in pictures for text in (page, readme))


def test_no_stage_asks_for_what_a_gpu_refuses_to_do_the_same_way_twice(there: Path, operations: Operations) -> None:
    assert {"aten::convolution", "aten::grid_sampler_2d", "aten::_fused_adam_.tensor_lr"} <= operations.names
    assert not operations.names & REFUSED


def test_the_page_links_to_the_experiment_that_has_the_runs(there: Path) -> None:
    page = unescape((there / REPORTS / "index.html").read_text())
    store = sqlite3.connect(there / "mlflow.db")
    for run in [*VARIANTS, "toy-tuned"]:
        ((experiment,),) = store.execute("select distinct experiment_id from runs where name = ?", [run]).fetchall()
        assert f"/#/experiments/{experiment}/runs?searchFilter=attributes.run_name%20%3D%20%27{run}%27" in page


def test_a_note_about_the_data_reaches_tables_and_page(there: Path) -> None:
    for path in ("tables/decoders.md", "tables/benchmarks.md", "index.html", "README.md"):
        assert "made for a test" in (there / REPORTS / path).read_text(), path


def test_history_has_one_row_a_seed_and_epoch_in_the_promised_columns(there: Path) -> None:
    history = pd.read_csv(there / "models/toy-fc/history.csv")
    expected = ["seed", "epoch", "lr", "alpha", "train_loss", "train_rloss", "train_mloss", "train_accuracy"]
    assert list(history.columns) == [*expected, "val_loss", "val_rloss", "val_mloss", "val_accuracy"]
    assert history[["seed", "epoch"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert np.isfinite(history.to_numpy()).all()
    copy = there / REPORTS / "metrics/toy-fc-history.csv"
    assert copy.read_bytes() == (there / "models/toy-fc/history.csv").read_bytes()


def test_tables_have_the_promised_columns_and_the_values_of_the_metrics(there: Path) -> None:
    table = pd.read_csv(there / REPORTS / "tables/decoders.csv").set_index("run")
    assert list(table.index) == [*VARIANTS, "toy-tuned"]
    metrics = json.loads((there / REPORTS / "metrics/toy-fc.json").read_text())
    accuracies = [scores["accuracy"] for scores in metrics["seeds"].values()]
    assert table.loc["toy-fc", "accuracy_mean"] == pytest.approx(np.mean(accuracies))
    assert table.loc["toy-fc", "accuracy_std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert table.loc["toy-fc", "published_accuracy"] == 98.0
    assert table["published_accuracy"].notna().sum() == 1
    benchmarks = pd.read_csv(there / REPORTS / "tables/benchmarks.csv")
    assert benchmarks["model"].tolist() == ["FC", "Others"]
    assert benchmarks["source"].tolist() == ["Somebody 2001", "Somebody 2000"]


def test_the_confusion_counts_add_up_to_the_test_images_and_the_accuracy(there: Path) -> None:
    counts = pd.read_csv(there / REPORTS / "metrics/toy-deconv-confusion.csv")
    metrics = json.loads((there / REPORTS / "metrics/toy-deconv.json").read_text())
    for seed, rows in counts.groupby("seed"):
        hits = rows.loc[rows["actual"] == rows["predicted"], "count"].sum()
        assert rows["count"].sum() == metrics["test_images"] == 12
        assert 100 * hits / 12 == pytest.approx(metrics["seeds"][str(seed)]["accuracy"])


def test_a_run_of_pairs_is_scored_on_pairs_of_the_test_images_and_on_each_of_their_images(there: Path) -> None:
    metrics = json.loads((there / REPORTS / "metrics/toy-pairs.json").read_text())
    counts = pd.read_csv(there / REPORTS / "metrics/toy-pairs-confusion.csv")
    assert metrics["model"] == "FC, pairs"
    assert (metrics["test_images"], metrics["pairs"]["number"]) == (12, 24)
    for seed, rows in counts.groupby("seed"):
        hits = rows.loc[rows["actual"] == rows["predicted"], "count"].sum()
        assert rows["count"].sum() == 2 * 24
        assert metrics["pairs"]["image_accuracy"][str(seed)] == pytest.approx(100 * hits / 48)
        assert metrics["seeds"][str(seed)]["accuracy"] <= metrics["pairs"]["image_accuracy"][str(seed)]
        assert metrics["seeds"][str(seed)]["accuracy"] * 24 / 100 == pytest.approx(
            round(metrics["seeds"][str(seed)]["accuracy"] * 24 / 100)
        )
    assert metrics["ensemble"]["size"] == 2


def test_the_picture_of_pairs_says_what_its_numbers_say(there: Path) -> None:
    folder = there / REPORTS / "figures/toy-pairs"
    numbers = pd.read_csv(folder / "pairs.csv")
    right = (numbers["true_1"] == numbers["predicted_1"]) & (numbers["true_2"] == numbers["predicted_2"])
    assert right.tolist() == numbers["right"].tolist() == sorted(right, reverse=True)
    assert not set(numbers["absent"]) - {0, 1, 2}
    assert (numbers[["true_1", "true_2"]].ne(numbers["absent"], axis=0)).all(axis=None)
    (caption,) = (
        figure["caption"]
        for figure in json.loads((folder / "figures.json").read_text())["figures"]
        if figure["name"] == "pairs"
    )
    assert f"the first {right.sum()} pairs that it takes apart rightly" in caption
    assert f"the first {(~right).sum()} that it does not" in caption
    assert "Of the first 24 test pairs" in caption


def test_images_rotated_by_nothing_are_scored_like_the_test_images(there: Path) -> None:
    rotated = pd.read_csv(there / REPORTS / "metrics/toy-fc-robustness.csv")
    metrics = json.loads((there / REPORTS / "metrics/toy-fc.json").read_text())
    assert rotated[["seed", "degrees"]].to_numpy().tolist() == [[s, d] for s in (0, 1) for d in (0, 90, 180, 270)]
    upright = rotated.loc[rotated["degrees"] == 0, "accuracy"].tolist()
    assert upright == [scores["accuracy"] for scores in metrics["seeds"].values()]
    assert metrics["ensemble"]["size"] == 2
    assert metrics["ensemble"]["accuracy"] * 12 / 100 == pytest.approx(
        round(metrics["ensemble"]["accuracy"] * 12 / 100)
    )


def test_the_number_of_angles_is_said_whatever_the_number_of_seeds(
    there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("rotate", ["toy-fc"])
    assert "toy-fc-robustness.csv: accuracy at 4 angles, " in capsys.readouterr().out


def test_the_tuned_run_is_trained_with_the_best_values(there: Path) -> None:
    best = YAML(typ="safe").load((there / REPORTS / "tuning/toy/best.yaml").read_text())
    tuned = json.loads((there / REPORTS / "metrics/toy-tuned.json").read_text())
    trials = pd.read_csv(there / REPORTS / "tuning/toy/trials.csv")
    assert (tuned["alpha"], tuned["lr"]) == (best["alpha"], best["lr"])
    assert best["val_accuracy"] == trials.loc[trials["state"] == "complete", "val_accuracy"].max()
    assert trials.loc[0, ["alpha", "lr"]].tolist() == [0.0005, 0.01]  # the run as it is comes first
    assert len(trials) == 4


def test_mlflow_has_a_parent_a_run_with_a_child_a_seed_and_test_scores_on_both(there: Path) -> None:
    store = sqlite3.connect(there / "mlflow.db")
    named = dict(store.execute("select name, run_uuid from runs where name like 'toy-fc' or name like 'toy-fc seed %'"))
    assert set(named) == {"toy-fc", "toy-fc seed 0", "toy-fc seed 1"}
    parents = store.execute(
        "select run_uuid from tags where key = 'mlflow.parentRunId' and value = ?", [named["toy-fc"]]
    ).fetchall()
    assert {parent for (parent,) in parents} == {named["toy-fc seed 0"], named["toy-fc seed 1"]}
    of = {
        name: dict(store.execute("select key, value from latest_metrics where run_uuid = ?", [run]))
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
    store = sqlite3.connect(there / "mlflow.db")
    ((search,),) = store.execute("select run_uuid from runs where name = 'tune toy'").fetchall()
    trials = store.execute("select count(*) from tags where key = 'mlflow.parentRunId' and value = ?", [search])
    assert trials.fetchone() == (4,)
    assert store.execute("select distinct status from runs").fetchall() == [("FINISHED",)]


def test_mlflow_keeps_model_data_set_settings_and_provenance(there: Path) -> None:
    store = sqlite3.connect(there / "mlflow.db")
    ((run, artifacts),) = store.execute(
        "select run_uuid, artifact_uri from runs where name = 'toy-fc seed 0'"
    ).fetchall()
    folder = Path(artifacts.removeprefix("file://"))
    assert (folder / "model/data/seed-0.safetensors").read_bytes() == (
        there / "models/toy-fc/seed-0.safetensors"
    ).read_bytes()
    assert store.execute("select name from datasets").fetchone() == ("squares",)
    params = dict(store.execute("select key, value from params where run_uuid = ?", [run]))
    assert {"run": "toy-fc", "seed": "0", "lr": "0.01"}.items() <= params.items()
    tags = dict(store.execute("select key, value from tags where run_uuid = ?", [run]))
    assert {"device", "seed", "version.torch", "fingerprint"} <= tags.keys()
    ((parent,),) = store.execute("select artifact_uri from runs where name = 'toy-fc'").fetchall()
    figures = Path(parent.removeprefix("file://")) / "figures/toy-decoders"
    assert {path.name for path in figures.iterdir()} == {"curves.png", "reconstructions.png"}


def test_the_picture_of_mistakes_has_the_counts_of_evaluate(there: Path) -> None:
    drawn = pd.read_csv(there / REPORTS / "figures/squares/confusion.csv")
    scored = pd.read_csv(there / REPORTS / "metrics/toy-deconv_bn-confusion.csv")
    assert drawn["count"].sum() == scored["count"].sum() == 2 * 12
    right = scored.loc[scored["actual"] == scored["predicted"], "count"].sum()
    assert drawn.loc[drawn["actual"] == drawn["predicted"], "count"].sum() == right


def test_mlflow_has_the_decoder_of_primary_capsules_with_its_loss(there: Path) -> None:
    store = sqlite3.connect(there / "mlflow.db")
    ((loss,),) = store.execute(
        "select value from latest_metrics join runs using (run_uuid) "
        "where name = 'squares-primary' and key = 'train_rloss'"
    ).fetchall()
    history = pd.read_csv(there / "models/squares-primary/history.csv")
    assert loss == pytest.approx(history["train_rloss"].iloc[-1])


@pytest.mark.parametrize("name", ["toy-decoders", "squares", "toy-pairs"])
def test_every_picture_is_written_for_screen_and_paper_with_a_caption_and_the_note(name: str, there: Path) -> None:
    folder = there / REPORTS / "figures" / name
    told = json.loads((folder / "figures.json").read_text())
    assert told["note"] == "made for a test"
    for figure in told["figures"]:
        assert (folder / f"{figure['name']}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{figure['name']}.pdf").read_bytes().startswith(b"%PDF")
        assert figure["caption"].endswith(".")


def test_a_turning_image_moves_through_every_angle_that_the_numbers_have(there: Path) -> None:
    folder = there / REPORTS / "figures/squares"
    with Image.open(folder / "rotation.gif") as film:
        assert film.n_frames == pd.read_csv(folder / "rotation.csv")["degrees"].nunique() == 72


def test_tensorboard_has_event_files_for_each_seed(there: Path) -> None:
    assert {path.parent.name for path in (there / "tensorboard/toy-fc").rglob("events*")} == {"seed-0", "seed-1"}


def test_nothing_is_left_in_the_scratch_folder(there: Path) -> None:
    kept = {"mlflow.lock", "workspace", "workspace.lock"}
    assert [path for path in (there / ".scratch").rglob("*") if path.is_file() and path.name not in kept] == []


def test_the_same_project_gives_the_same_bytes_again(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_project(tmp_path))
    for name, arguments in [
        ("prepare", ["squares"]),
        ("train", ["toy-deconv_bn"]),
        ("train", ["toy-pairs"]),
        ("evaluate", ["toy-deconv_bn"]),
        ("evaluate", ["toy-pairs"]),
        ("tune", ["toy"]),
        ("decode", ["squares"]),
    ]:
        run_stage(name, arguments)
    for folder in ("data", "models/toy-deconv_bn", "models/squares-primary", "models/toy-pairs", "reports/toy/tuning"):
        assert contents(tmp_path / folder) == contents(there / folder), folder
    for run in ("toy-deconv_bn", "toy-pairs"):
        again = (tmp_path / REPORTS / f"metrics/{run}.json").read_bytes()
        assert again == (there / REPORTS / f"metrics/{run}.json").read_bytes()


def test_training_and_tuning_never_read_the_test_split(
    prepared: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared)
    with np.load("data/squares.npz") as arrays:
        training_only = {name: arrays[name] for name in arrays if not name.startswith("test")}
    np.savez("data/squares.npz", **training_only)
    run_stage("train", ["toy-fc"])
    run_stage("train", ["toy-deconv_bn"])
    run_stage("decode", ["squares"])
    run_stage("tune", ["toy"])
    assert contents(prepared / "models/toy-fc") == contents(there / "models/toy-fc")
    assert contents(prepared / "models/squares-primary") == contents(there / "models/squares-primary")
    assert contents(prepared / "reports/toy/tuning") == contents(there / "reports/toy/tuning")


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


def test_an_ad_hoc_run_writes_into_its_folder_alone_and_can_be_continued(prepared: Path) -> None:
    before = contents(prepared / "models") if (prepared / "models").exists() else {}
    settings = ["toy-fc", "--seeds", "0", "--set", "decoder=deconv", "--out"]
    run_stage("train", [*settings, "long", "--set", "epochs=3"])
    run_stage("train", [*settings, "short", "--set", "epochs=1"])
    state = "short/seed-0.state.safetensors"
    run_stage("train", [*settings, "continued", "--set", "epochs=3", "--resume", state])
    assert (contents(prepared / "models") if (prepared / "models").exists() else {}) == before
    long, continued = pd.read_csv("long/history.csv"), pd.read_csv("continued/history.csv")
    pd.testing.assert_frame_equal(long, continued, check_exact=True)
    run_stage("evaluate", ["toy-fc", "--out", "continued"])
    assert json.loads(Path("continued/toy-fc.json").read_text())["epochs"] == 3


def test_a_run_without_decoder_goes_through_training_and_evaluation(prepared: Path) -> None:
    params = tiny_params()
    params["runs"]["toy-fc"] |= {"decoder": "none", "validation": 0.0}
    write_params(prepared, params)
    run_stage("train", ["toy-fc"])
    run_stage("evaluate", ["toy-fc"])
    metrics = json.loads(Path("reports/toy/metrics/toy-fc.json").read_text())
    assert metrics["decoder_parameters"] == 0
    assert "rloss_mean" not in metrics
    assert list(model_files(Path("models/toy-fc"))) == [0, 1]
