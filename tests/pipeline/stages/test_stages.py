"""Every stage end to end on the tiny project, and what their outputs promise."""

import json
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from every_stage import REPORTS, run_stage
from like_a_gpu import REFUSED
from PIL import Image
from ruamel.yaml import YAML
from stored import select
from tiny_project import VARIANTS, tiny_params


def test_all_stages_leave_a_page_and_a_readme_with_every_run_and_picture(there: Path) -> None:
    page, readme = (there / REPORTS / "index.html").read_text(), (there / REPORTS / "README.md").read_text()
    assert all(run in text for run in [*VARIANTS, "toy-tuned"] for text in (page, readme))
    pictures = [path.relative_to(there / REPORTS).as_posix() for path in (there / REPORTS).rglob("*.png")]
    compared = {"figures/squares/curves.png", "figures/squares/reconstructions.png"}  # the comparison has them
    pictures = [picture for picture in pictures if picture not in compared]
    assert page.count("data:image/webp;base64,") == len(pictures) >= 6
    assert all(f'"{picture}"' in text for picture in pictures for text in (page, readme))


def test_no_stage_asks_for_what_a_gpu_refuses_to_do_the_same_way_twice(there: Path, operations: set[str]) -> None:
    assert {"aten::convolution", "aten::grid_sampler_2d", "aten::_fused_adam_.tensor_lr"} <= operations
    assert not operations & REFUSED


def test_the_page_links_to_the_experiment_that_has_the_runs(there: Path) -> None:
    page = unescape((there / REPORTS / "index.html").read_text())
    for run in [*VARIANTS, "toy-tuned"]:
        ((experiment,),) = select(there / "mlflow.db", "select distinct experiment_id from runs where name = ?", run)
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
        f"{figure['finding']} {figure['caption']}"
        for figure in json.loads((folder / "figures.json").read_text())["figures"]
        if figure["name"] == "pairs"
    )
    assert f"The first {right.sum()} pairs whose classes are both recognised" in caption
    assert f"the first {(~right).sum()} pairs with a mistake" in caption
    assert "of the first 24 test pairs" in caption


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


def test_the_counts_at_each_angle_give_its_accuracy(there: Path) -> None:
    rotated = pd.read_csv(there / REPORTS / "metrics/toy-fc-robustness.csv").set_index(["seed", "degrees"])
    counts = pd.read_csv(there / REPORTS / "metrics/toy-fc-rotated-confusion.csv")
    assert (counts["count"] > 0).all()
    by_angle = counts.groupby(["seed", "degrees"])["count"].sum()
    assert (by_angle == 12).all()
    right = counts[counts["actual"] == counts["predicted"]].groupby(["seed", "degrees"])["count"].sum()
    accuracy = (100 * right.reindex(rotated.index, fill_value=0) / by_angle).rename("accuracy")
    pd.testing.assert_series_equal(accuracy, rotated["accuracy"])


def test_every_picture_is_drawn(there: Path) -> None:
    told = json.loads((there / REPORTS / "figures/squares/figures.json").read_text())
    assert "left_out" not in told
    assert [figure["name"] for figure in told["figures"]] == tiny_params()["figures"]["squares"]["pictures"]


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


def test_the_picture_of_mistakes_has_the_counts_of_evaluate(there: Path) -> None:
    drawn = pd.read_csv(there / REPORTS / "figures/squares/confusion.csv")
    scored = pd.read_csv(there / REPORTS / "metrics/toy-deconv_bn-confusion.csv")
    assert drawn["count"].sum() == scored["count"].sum() == 2 * 12
    right = scored.loc[scored["actual"] == scored["predicted"], "count"].sum()
    assert drawn.loc[drawn["actual"] == drawn["predicted"], "count"].sum() == right


@pytest.mark.parametrize("name", ["toy-decoders", "squares", "toy-pairs"])
def test_every_picture_is_written_for_screen_and_paper_with_a_caption_and_the_note(name: str, there: Path) -> None:
    folder = there / REPORTS / "figures" / name
    told = json.loads((folder / "figures.json").read_text())
    assert told["note"] == "made for a test"
    assert all(figure["title"] and figure["finding"].endswith(".") for figure in told["figures"])
    for figure in told["figures"]:
        assert (folder / f"{figure['name']}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{figure['name']}.pdf").read_bytes().startswith(b"%PDF")
        assert figure["caption"].endswith(".")


def test_a_turning_image_moves_through_every_angle_that_the_numbers_have(there: Path) -> None:
    folder = there / REPORTS / "figures/squares"
    with Image.open(folder / "rotation.gif") as film:
        assert film.n_frames == pd.read_csv(folder / "rotation.csv")["degrees"].nunique() == 72
