"""The commands of DVC that docs/guide.md names, in a project of which one study is made and one is not."""

import csv
import json
import re
import shlex
import shutil
import sys

import pytest
from small_study import SmallStudy, small_params
from tiny_project import ROOT, write_params

from pipeline.runtime.paths import SCORES

GUIDE = (ROOT / "docs/guide.md").read_text()
COMPARE_EXPERIMENTS = "dvc exp show --only-changed --drop 'Created|State|Executor|.*loss|models|data'"
MISSED = re.compile("failed to load|no such file|error", re.IGNORECASE)
NARROW = 120  # columns

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def documented(command: str) -> list[str]:
    """Return a command of the guide as words, for the small study instead of the digits."""
    assert command in GUIDE, command
    return shlex.split(command.replace("digits-fc", "toy-fc").replace("digits", "toy"))


def assert_narrow(said: str) -> None:
    assert max(map(len, said.splitlines())) <= NARROW
    assert "…" not in said


def test_metrics_show_has_the_scores_of_each_run_and_misses_none(made: SmallStudy) -> None:
    said = made.call(*documented("dvc metrics show"))
    header, *rows = [line.split() for line in said.splitlines()]
    assert header == ["Path", *sorted(SCORES)]
    assert [row[0] for row in rows] == ["reports/scores/toy-fc.json", "reports/scores/toy-tuned.json"]
    metrics = json.loads((made.folder / "reports/toy/metrics/toy-fc.json").read_text())
    assert [float(number) for number in rows[0][1:]] == pytest.approx(
        [metrics[f"{key}_mean"] for key in sorted(SCORES)], abs=1e-5
    )
    assert_narrow(said)


def test_plots_show_draws_the_curve_of_each_run_and_misses_none(study: SmallStudy) -> None:
    said = study.call(*documented("dvc plots show"))
    assert not MISSED.search(said)
    page = (study.folder / "dvc_plots/index.html").read_text()
    assert all(f"reports/curves/{run}.csv" in page for run in ("toy-fc", "toy-tuned"))
    with (study.folder / "reports/curves/toy-fc.csv").open() as file:
        curve = [*csv.DictReader(file)]
    with (study.folder / "reports/toy/metrics/toy-fc-history.csv").open() as file:
        history = [*csv.DictReader(file)]
    assert [row["epoch"] for row in curve] == ["1", "2"]
    assert [row["train_loss"] for row in curve] == [row["train_loss"] for row in history]  # of the only seed


def test_an_experiment_is_compared_in_120_columns(study: SmallStudy) -> None:
    before = json.loads((study.folder / "reports/scores/toy-fc.json").read_text())
    command = documented("dvc exp run --temp --name short -S runs.digits-fc.epochs=1 evaluate@digits-fc")
    # One epoch would not change the accuracy of this small run.
    study.call(*(word.replace("epochs=1", "epochs=12") for word in command))
    shown = study.call(*documented(COMPARE_EXPERIMENTS), "--no-pager")
    assert_narrow(shown)
    assert "reports/scores/toy-fc.json:accuracy" in shown
    assert re.search(r"\[short\] .* 12 ", shown)
    assert "md5" not in shown
    differences = study.call(*documented("dvc exp diff short"))
    assert_narrow(differences)
    # The experiment was scored again: its scores are new ones.
    for score in SCORES:
        values = re.search(rf"scores/toy-fc.json +{score} +(\S+) +(\S+) ", differences)
        assert values, differences
        assert float(values[1]) != float(values[2]) == pytest.approx(before[score], rel=1e-3)
    # DVC applies it, then misses the files of the other study: the guide says so.
    study.call(*documented("dvc exp apply NAME")[:-1], "short", status=255)
    changed = study.call(*documented("dvc metrics diff"))
    assert_narrow(changed)
    assert not MISSED.search(changed)
    assert [line.split()[1] for line in changed.splitlines()[1:]] == sorted(SCORES)


def test_no_output_means_no_difference_and_the_stages_of_one_run_fit_120_columns(made: SmallStudy) -> None:
    assert made.call(*documented("dvc metrics diff")) == ""
    drawn = made.call(*documented("dvc dag evaluate@digits-fc"))
    assert_narrow(drawn)
    assert all(stage in drawn for stage in ("prepare@squares", "train@toy-fc", "evaluate@toy-fc"))
    assert "report@toy" not in drawn


def test_an_experiment_with_own_pictures_is_compared_without_their_checksum(study: SmallStudy) -> None:
    pictures = study.folder.parent / "pictures.npz"
    shutil.copyfile(study.folder / "squares.npz", pictures)
    params = small_params()
    params["datasets"]["mine"] = {"format": "npz", "raw": str(pictures)}
    params["runs"]["mine"] = params["runs"]["toy-fc"] | {"dataset": "mine"}
    write_params(study.folder, params)
    study.call(*documented("dvc repro evaluate@mine"))
    study.commit("Add own pictures")
    study.call("dvc", "exp", "run", "--temp", "--name", "own", "-S", "runs.mine.epochs=12", "evaluate@mine")
    assert "pictures" in study.call(*documented(COMPARE_EXPERIMENTS), "--no-pager", columns=400)
    shown = study.call(*documented(COMPARE_EXPERIMENTS[:-1] + "|.*pictures'"), "--no-pager")
    assert_narrow(shown)
    assert re.search(r"\[own\] .* 12 ", shown)
    assert "pictures" not in shown


def test_a_changed_setting_and_the_stages_that_it_makes_stale_are_named(study: SmallStudy) -> None:
    study.change("toy-fc", lr=0.02)
    assert re.search(r"runs\.toy-fc\.lr +0\.01 +0\.02", study.call(*documented("dvc params diff")))
    stale = study.call(*documented("dvc status --with-deps evaluate@digits-fc"))
    assert [line for line in stale.splitlines() if line[:1].strip()] == ["train@toy-fc:"]
    # What the guide warns of: the evaluation would run too, but --dry makes no model that differs.
    dry = study.call(*documented("dvc repro --dry"), "evaluate@toy-fc")
    assert "Running stage 'train@toy-fc'" in dry
    assert "Stage 'evaluate@toy-fc' didn't change" in dry


def test_the_values_that_a_search_found_are_shown_as_numbers(made: SmallStudy) -> None:
    header, values, *_ = csv.reader(made.call("dvc", "exp", "show", "--csv").splitlines())
    best = (made.folder / "reports/toy/tuning/toy/best.yaml").read_text()
    for name in ("alpha", "lr"):
        assert [float(value) for column, value in zip(header, values, strict=True) if column == name]
        assert f"{name}: " in best


def test_two_queued_experiments_that_share_a_stale_training_both_end_well(study: SmallStudy) -> None:
    for name, pairs in (("one", 3), ("two", 4)):
        settings = ["-S", "runs.toy-fc.epochs=3", "-S", f"test_pairs.per_image={pairs}"]
        study.call("dvc", "exp", "run", "--queue", "--name", name, *settings, "evaluate@toy-fc")
    study.call("dvc", "queue", "start", "--jobs", "2")
    study.wait_for_queue()
    for name in ("one", "two"):
        logged = study.call("dvc", "queue", "logs", name)
        assert "already running" not in logged
    shown = study.call("dvc", "exp", "show", "--csv")
    rows = {row["Experiment"] or row["rev"]: row for row in csv.DictReader(shown.splitlines())}
    assert {name: rows[name]["State"] for name in ("one", "two")} == {"one": "Success", "two": "Success"}
    assert rows["one"]["models/toy-fc"] == rows["two"]["models/toy-fc"] != rows["workspace"]["models/toy-fc"]


# The table "DVC with one study made": the command, and how it ends. Those without a target look for the other study.
@pytest.mark.parametrize(
    ("instead", "status", "command"),
    [
        ("dvc checkout", 255, "dvc checkout --with-deps report@digits"),
        ("dvc checkout", 255, "dvc checkout --allow-missing"),
        ("dvc commit -f", 1, "dvc commit -f --with-deps report@digits"),
        ("dvc exp save -n all", 1, "dvc exp save -n NAME evaluate@digits-fc"),
        ("dvc repro --dry rest", 255, "dvc repro report@digits"),
    ],
)
def test_the_commands_for_one_study_pass(instead: str, status: int, command: str, study: SmallStudy) -> None:
    study.call(*shlex.split(instead), status=status)
    study.call(*documented(command))
    assert study.call("git", "status", "--porcelain") == ""
    assert study.call("dvc", "status", "--with-deps", "report@toy").strip().endswith("up to date.")


def test_a_model_is_pushed_pulled_and_not_trained_again(study: SmallStudy) -> None:
    remote = study.folder.parent / "remote"
    study.call("dvc", "remote", "add", "--default", "storage", str(remote))
    study.commit("Name the remote")
    study.call(*documented("dvc push --with-deps report@digits"))
    clone = SmallStudy(study.folder.parent / "clone")
    study.call("git", "clone", "--quiet", str(study.folder), str(clone.folder))
    clone.call("dvc", "pull", status=1)
    clone.call(*documented("dvc pull --with-deps report@digits"))
    assert "Running stage" not in clone.call(*documented("dvc repro report@digits"))


def test_a_stage_of_a_list_cannot_be_frozen_but_run_alone(study: SmallStudy) -> None:
    refused = study.call(*documented("dvc freeze train@digits-fc"), status=1)
    assert "cannot dump a parametrized stage" in refused
    (study.folder / "models/toy-fc/history.csv").unlink()
    alone = study.call(*documented("dvc repro -sf report@digits"))
    assert alone.count("Running stage") == 1


@pytest.mark.parametrize("command", ["dvc repro", f"{sys.executable} -m pipeline.apps.cluster"])
def test_a_stage_that_does_not_exist_is_named_in_one_line(command: str, made: SmallStudy) -> None:
    said = made.call(*command.split(), "report@nobody", status=255 if command == "dvc repro" else 2)
    assert len(said.splitlines()) == 1
    assert "'report@nobody' not found" in said
