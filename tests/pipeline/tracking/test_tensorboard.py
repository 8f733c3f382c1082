"""TensorBoard's event files: one folder a training, complete, and never the end of a training."""

import shutil
from pathlib import Path

import pytest
from stored import select

from pipeline.tracking.tensorboard import event_writer, events_folder


def curve(folder: Path, name: str = "loss") -> list[tuple[int, float]]:
    """Return what TensorBoard shows of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "events"


def test_a_step_can_be_shown_as_soon_as_it_is_written(folder: Path) -> None:
    write = event_writer(Path("events"))
    for step in (1, 2):
        write(step, {"loss": step / 2, "accuracy": 50.0})
        assert curve(folder)[-1] == (step, step / 2)
    assert curve(folder, "accuracy") == [(1, 50.0), (2, 50.0)]
    assert len([*folder.iterdir()]) == 1


@pytest.mark.parametrize("fault", ["deleted", "never there", "cut off"])
def test_a_folder_that_cannot_be_written_is_one_warning_and_the_curve_is_complete_later(
    fault: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = event_writer(Path("events"))
    if fault != "never there":
        write(1, {"loss": 1.0})
    if fault == "cut off":
        (file,) = folder.iterdir()
        file.write_bytes(file.read_bytes()[:-3])
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.write_text("not a folder")
    for step in (1, 2) if fault == "never there" else (2,):
        write(step, {"loss": float(step)})
    said = capsys.readouterr().err
    if fault == "cut off":
        assert said == ""
    else:
        assert said.startswith("warning: TensorBoard: ")
        assert said.count("\n") == 1
        folder.unlink()
    write(3, {"loss": 3.0})
    assert curve(folder) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_full_disk_is_one_warning_and_the_curve_is_complete_later(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = event_writer(Path("events"))
    write(1, {"loss": 1.0})
    (file,) = folder.iterdir()
    file.unlink()
    file.symlink_to("/dev/full")
    for step in (2, 3):
        write(step, {"loss": float(step)})
    assert capsys.readouterr().err == (
        "warning: TensorBoard: events: [Errno 28] No space left on device; the training goes on without it\n"
    )
    file.unlink()
    write(4, {"loss": 4.0})
    assert curve(folder) == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_a_training_that_is_resumed_shows_each_step_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = event_writer(Path("events")), event_writer(Path("events"))
    for step in (1, 2, 3):
        first(step, {"loss": 9.0})
    (file,) = folder.iterdir()
    file.rename(file.with_name("events.out.tfevents.1.host.1"))
    for step in (1, 2):
        second(step, {"loss": float(step)})
    assert curve(folder) == [(1, 1.0), (2, 2.0)]


def test_each_training_has_a_folder_of_its_own_and_its_mlflow_runs_name_it(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import train

    train.main(["toy-fc", "--seeds", "0", "--out", "toy-fc", "--set", "epochs=1"])
    monkeypatch.setenv("DVC_EXP_NAME", "brisk-otter")
    train.main(["toy-fc", "--seeds", "0", "--out", "toy-fc", "--set", "epochs=2"])
    first, second = sorted(Path("tensorboard/toy-fc").iterdir(), key=lambda path: path.stat().st_mtime)
    assert second.name.startswith("brisk-otter-")
    assert [step for step, _ in curve(first / "seed-0", "train_loss")] == [1]
    assert [step for step, _ in curve(second / "seed-0", "train_loss")] == [1, 2]
    tagged = select(Path("mlflow.db"), "select value from tags where key = 'tensorboard'")
    assert {path for (path,) in tagged} == {str(path) for each in (first, second) for path in (each, each / "seed-0")}


def test_the_folder_of_a_training_names_run_experiment_and_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert events_folder("toy", "f" * 12) == Path("tensorboard/toy/ffffffffffff")
    monkeypatch.setenv("DVC_EXP_NAME", "brisk-otter")
    assert events_folder("toy", "f" * 12) == Path("tensorboard/toy/brisk-otter-ffffffffffff")
