"""The working files of a training that has ended: kept until DVC has recorded its models, and no longer."""

import os
import shutil
import time
from pathlib import Path

import pytest

from pipeline.runtime.command_line import run_stage
from pipeline.runtime.locks import LOCK, is_held
from pipeline.runtime.scratch import note_closed, scratch
from pipeline.runtime.stopping import DVC_STAGE
from pipeline.runtime.unrecorded import ENDED, folder_md5, remove_recorded

OUT = Path("models/toy-fc")


@pytest.fixture(autouse=True)
def started_by_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DVC_STAGE, "train@toy-fc")


def kept() -> list[Path]:
    return [*Path(".scratch").glob(f"train/*/*/{ENDED}")]


def end(states: int = 1) -> Path:
    """Let a stage end that made a model and left training states. Returns its working files."""
    with scratch("train", "toy-fc", OUT, "key") as folder:
        (folder / "out").mkdir()
        for seed in range(states):
            (folder / f"seed-{seed}.state.safetensors").touch()
            (folder / f"seed-{seed}.state.safetensors.previous").touch()
        OUT.mkdir(parents=True, exist_ok=True)
        (OUT / "seed-0.safetensors").write_text("a model")
    return folder


def record() -> None:
    """Let dvc.lock name the models, as DVC does."""
    later = time.time() + 1  # a clock of coarse steps would not see the difference
    Path("dvc.lock").write_text(f"stages:\n  train@toy-fc:\n    outs:\n    - md5: {folder_md5(OUT)}\n")
    os.utime("dvc.lock", (later, later))


def test_models_that_dvc_did_not_record_are_written_again_without_training(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline import train

    train.main(["toy-fc"])
    first = {path.name: path.read_bytes() for path in OUT.iterdir()}
    shutil.rmtree(OUT)  # as the next `dvc repro` does

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr("torch.Tensor.backward", refuse)
    capsys.readouterr()
    train.main(["toy-fc"])
    assert {path.name: path.read_bytes() for path in OUT.iterdir()} == first
    assert "train toy-fc: it had ended, but DVC did not record it" in capsys.readouterr().err


def test_of_a_training_that_has_ended_only_the_last_states_are_kept(project: Path) -> None:
    folder = end(states=2)
    assert {path.name for path in folder.iterdir()} == {
        "lock",
        ENDED,
        "seed-0.state.safetensors",
        "seed-1.state.safetensors",
    }


def test_the_next_stage_removes_what_dvc_has_recorded(project: Path) -> None:
    folder = end()
    run_stage(lambda: None)
    assert folder.is_dir()  # not yet
    record()
    run_stage(lambda: None)
    assert not folder.exists()


def test_a_process_that_only_looks_brings_back_no_folder_that_another_has_just_removed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = end()
    record()
    glob = Path.glob

    def removed_after_it_was_found(self: Path, pattern: str) -> list[Path]:
        found = [*glob(self, pattern)]
        shutil.rmtree(folder)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", removed_after_it_was_found)
        remove_recorded()
    assert not folder.exists()
    assert not is_held(folder / LOCK)
    note_closed(folder)
    assert not folder.exists()


def test_models_that_an_earlier_training_made_too_are_not_taken_for_recorded(project: Path) -> None:
    end()
    record()
    earlier = time.time() - 10
    os.utime("dvc.lock", (earlier, earlier))
    folder = end()  # the training was repeated, and DVC was killed before it recorded that
    run_stage(lambda: None)
    assert (folder / ENDED).exists()
    record()
    run_stage(lambda: None)
    assert not folder.exists()


def test_a_stage_that_dvc_has_recorded_trains_anew_when_it_is_started_again(project: Path) -> None:
    end()
    record()
    with scratch("train", "toy-fc", OUT, "key") as folder:
        assert [path.name for path in folder.iterdir()] == ["lock"]


def test_nothing_is_kept_for_a_person_or_an_experiment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delenv(DVC_STAGE)
        assert not end().exists()
    copy = project / ".dvc/tmp/exps/one"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    assert not end().exists()


def test_later_settings_of_the_same_output_remove_what_was_kept(project: Path) -> None:
    folder = end()
    with scratch("train", "toy-fc", OUT, "later"):
        pass
    assert not folder.exists()


def test_a_folder_is_named_as_dvc_names_it(project: Path) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs.local import LocalFileSystem

    (project / "folder/below").mkdir(parents=True)
    for name in ("b.txt", "a.txt", "below-a.txt", "below/ä.txt"):
        (project / "folder" / name).write_text(name)
    fs = LocalFileSystem()
    _, _, tree = build(HashFileDB(fs, str(project / "cache")), str(project / "folder"), fs, "md5")
    assert folder_md5(project / "folder") == tree.hash_info.value
