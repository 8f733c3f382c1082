"""Stages killed with -9 and started again: the same bytes, the same trials, one MLflow run."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from real_stages import epochs_done, finish, kill_when, start, two_projects
from stored import select
from tiny_project import tiny_params, write_params

from pipeline.runtime.scratch import fingerprint, scratch
from pipeline.runtime.workspace import owner

EPOCHS = 20


def query(statement: str) -> list[tuple[object, ...]]:
    return select(Path("mlflow.db"), statement)


@pytest.fixture
def long_project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two equal projects with enough epochs to be killed in; the working directory is the first."""
    params = tiny_params()
    params["runs"]["toy-pairs"]["epochs"] = EPOCHS
    params["tune"]["toy"] |= {"trials": 6, "epochs": 4}
    return two_projects(tmp_path_factory, monkeypatch, params, "broken")


@pytest.mark.slow
def test_a_training_killed_twice_ends_with_the_same_bytes_and_one_mlflow_run(
    long_project: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = long_project
    run = "toy-pairs"  # it also draws partners; tests/faults kill a study of the other task
    # The second kill most likely finds one seed an epoch ahead of the other.
    kill_when(start("pipeline.train", run), epochs_done(1), f"train/{run}/*/seed-0.state.safetensors")
    kill_when(start("pipeline.train", run), epochs_done(8), f"train/{run}/*/seed-1.state.safetensors")
    assert not Path("models").exists()
    finish("pipeline.train", run)
    assert query("select name, status from runs order by name") == [
        (run, "FINISHED"),
        (f"{run} seed 0", "FINISHED"),
        (f"{run} seed 1", "FINISHED"),
    ]
    steps = query(
        "select run_uuid, count(*), count(distinct step) from metrics where key = 'train_loss' group by run_uuid"
    )
    assert [counts for _, *counts in steps] == [[EPOCHS, EPOCHS]] * 3  # two seeds, and their mean
    monkeypatch.chdir(whole)
    finish("pipeline.train", run)
    for name in ("seed-0.safetensors", "seed-1.safetensors", "history.csv"):
        assert (broken / "models" / run / name).read_bytes() == (whole / "models" / run / name).read_bytes(), name


@pytest.mark.slow
def test_a_search_killed_three_times_ends_with_the_same_trials(
    long_project: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, whole = long_project

    def noted(operation: int, at_least: int) -> Callable[[list[Path]], bool]:
        # Of Optuna's journal: 5 sets a parameter of a trial, 6 how it ended.
        return lambda paths: any(path.read_text().count(f'"op_code":{operation}') >= at_least for path in paths)

    kill_when(start("pipeline.tune", "toy"), noted(5, 1), "tune/toy/*/journal.log")
    (journal,) = Path(".scratch").glob("tune/toy/*/journal.log")
    assert not noted(6, 1)([journal]), "trial 0 had ended"
    kill_when(start("pipeline.tune", "toy"), noted(6, 2), "tune/toy/*/journal.log")
    kill_when(start("pipeline.tune", "toy"), noted(6, 4), "tune/toy/*/journal.log")
    finish("pipeline.tune", "toy")
    assert set(query("select distinct status from runs")) == {("FINISHED",)}
    monkeypatch.chdir(whole)
    finish("pipeline.tune", "toy")
    for name in ("best.yaml", "trials.csv", "history.png"):
        ours, theirs = (folder / "reports/toy/tuning/toy" / name for folder in (broken, whole))
        assert ours.read_bytes() == theirs.read_bytes(), name


def test_a_second_trainer_of_the_same_run_is_refused_while_the_first_lives(project: Path) -> None:
    out = Path("models/toy-fc")
    with (
        scratch("train", "toy-fc", out, "key"),
        pytest.raises(ValueError, match="already running"),
        scratch("train", "toy-fc", out, "key"),
    ):
        pass


def interrupted(out: str = "models/toy-fc", key: str = "earlier") -> Path:
    """Leave a checkpoint behind, and return its folder."""
    with suppress(KeyboardInterrupt), scratch("train", "toy-fc", Path(out), key) as folder:
        (folder / "seed-0.state.safetensors").touch()
        raise KeyboardInterrupt
    return folder


def test_success_clears_away_what_was_left_of_the_same_output_and_of_no_other(project: Path) -> None:
    models, elsewhere = interrupted("models/toy-fc"), interrupted("elsewhere")
    (models.parent / "notes.txt").touch()
    with scratch("train", "toy-fc", Path("quick"), "key"):
        pass
    assert models.is_dir()
    with scratch("train", "toy-fc", Path.cwd() / "models/toy-fc", "later"):
        pass
    assert [path.name for path in sorted(models.parent.iterdir())] == [elsewhere.name, "notes.txt"]


def enter_experiment(monkeypatch: pytest.MonkeyPatch, project: Path, folder: str, name: str) -> None:
    """Go where `dvc exp run --temp` runs a stage, with the variables that it sets."""
    here = project / ".dvc/tmp/exps" / folder
    here.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("DVC_ROOT", str(project))
    monkeypatch.setenv("DVC_EXP_NAME", name)


@pytest.mark.parametrize("key", ["earlier", "later"])
def test_an_experiment_neither_resumes_nor_removes_what_the_workspace_left(
    key: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = interrupted()
    enter_experiment(monkeypatch, project, "tmp1", "brisk-otter")
    with scratch("train", "toy-fc", Path("models/toy-fc"), key) as folder:
        assert folder.is_relative_to(project)
        assert not list(folder.glob("*.safetensors"))
    assert (ours / "seed-0.state.safetensors").is_file()


def test_the_workspace_removes_nothing_that_an_experiment_left(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        enter_experiment(patch, project, "tmp1", "brisk-otter")
        theirs = interrupted()
    with scratch("train", "toy-fc", Path("models/toy-fc"), "later"):
        pass
    assert (theirs / "seed-0.state.safetensors").is_file()


def test_an_experiment_of_the_same_name_goes_on_and_one_of_another_name_does_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_experiment(monkeypatch, project, "tmp1", "brisk-otter")
    left = interrupted()
    enter_experiment(monkeypatch, project, "tmp2", "calm-heron")
    with scratch("train", "toy-fc", Path("models/toy-fc"), "earlier") as folder:
        assert folder != left
    enter_experiment(monkeypatch, project, "tmp3", "brisk-otter")
    with scratch("train", "toy-fc", Path("models/toy-fc"), "earlier") as folder:
        assert folder == left
        assert (folder / "seed-0.state.safetensors").is_file()


def test_a_project_that_was_moved_goes_on_and_a_copy_is_another_owner(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = interrupted()
    ours = owner(Path("models/toy-fc"))
    there = tmp_path_factory.mktemp("elsewhere")
    copy = shutil.copytree(project, there / "copy")
    monkeypatch.chdir(copy)
    assert owner(Path("models/toy-fc")) == owner(Path("models/toy-fc")) != ours
    moved = shutil.move(project, there / "moved")
    monkeypatch.chdir(moved)
    assert owner(Path("models/toy-fc")) == ours
    with scratch("train", "toy-fc", Path("models/toy-fc"), "earlier") as folder:
        assert folder.name == left.name
        assert (folder / "seed-0.state.safetensors").is_file()


def test_another_torch_is_another_fingerprint(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("the", "same")
    assert before == fingerprint("the", "same")
    monkeypatch.setattr("torch.__version__", "2.99.0+cu999")
    assert fingerprint("the", "same") != before


@pytest.mark.slow
def test_an_open_run_of_an_earlier_configuration_becomes_killed(long_project: tuple[Path, Path]) -> None:
    kill_when(start("pipeline.train", "toy-fc"), epochs_done(1), "train/toy-fc/*/seed-0.state.safetensors")
    params = tiny_params()
    params["runs"]["toy-fc"]["epochs"] = 1
    write_params(Path(), params)
    finish("pipeline.train", "toy-fc")
    states = query("select name, status, count(*) from runs group by name, status order by name, status")
    assert states == [
        ("toy-fc", "FINISHED", 1),
        ("toy-fc", "KILLED", 1),
        ("toy-fc seed 0", "FINISHED", 1),
        ("toy-fc seed 0", "KILLED", 1),
        ("toy-fc seed 1", "FINISHED", 1),
        ("toy-fc seed 1", "KILLED", 1),
    ]
    assert not list(Path(".scratch").glob("train/toy-fc/*"))
