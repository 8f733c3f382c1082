"""What a user can cause ends in one clear line and status 2, and nothing is lost."""

import importlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_project import ROOT

from pipeline.runtime.command_line import run_stage


def fail(module: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a stage as its file does, which has to end with status 2 and one line; return the line."""
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(importlib.import_module(f"pipeline.{module}").main, arguments))
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert len(said.strip().splitlines()) == 1, said
    return said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nobody"], "run: got 'nobody', expected one of toy-"),
        (["train", "toy-fc"], "dvc repro prepare@squares"),
        (["train", "toy-fc", "--set", "lr=fast", "--out", "x"], "lr: got 'fast', expected a valid number"),
        (["train", "toy-fc", "--set", "lr", "--out", "x"], "expected NAME=VALUE"),
        (["train", "toy-fc", "--set", "lr=[", "--out", "x"], "--set lr=[:1: not YAML"),
        (["train", "toy-fc", "--set", "lr=0.1"], "--out: missing"),
        (["train", "toy-fc", "--seeds", "0", "0", "--out", "x"], "--set: seeds: got 0 twice, expected each once"),
        (["train", "toy-fc", "--device", "cuda", "--out", "x"], "torch sees no CUDA device"),
        (["train", "toy-tuned"], "reports/toy/tuning/toy/best.yaml: no such file; `dvc repro tune@toy` writes it"),
        (["evaluate", "nobody", "--out", "trained"], "run: got 'nobody', expected one of toy-"),
        (["evaluate", "toy-fc"], "models/toy-fc: no trained models; `dvc repro train@toy-fc` makes them"),
        (["evaluate", "toy-tuned"], "models/toy-tuned: no trained models; `dvc repro train-tuned@toy` makes them"),
        (["tabulate", "nothing"], "table: got 'nothing', expected one of toy-"),
        (["prepare", "cubes"], "dataset: got 'cubes', expected one of squares"),
        (["download", "cubes"], "dataset: got 'cubes', expected one of digits, mnist, "),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_a_wrong_command_ends_in_one_line_and_status_2(
    project: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("trained").mkdir()
    Path("trained/seed-0.safetensors").touch()
    assert said in fail(arguments[0], arguments[1:], capsys)


@pytest.mark.parametrize("content", ["", "alpha: 0.1", "[alpha, lr]"])
def test_the_values_of_a_search_that_are_not_all_there_are_named(
    project: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("reports/toy/tuning/toy/best.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    said = "best.yaml: expected alpha and lr; `dvc repro -f tune@toy` writes them"
    assert said in fail("train", ["toy-tuned"], capsys)


def test_a_real_process_shows_no_traceback(project: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.train", "nobody"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: run: got 'nobody', expected one of toy-")
    assert ended.stderr.count("\n") == 1


def test_a_missing_params_file_says_where_stages_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "top folder" in fail("train", ["toy-fc"], capsys)


def test_broken_yaml_is_named_with_its_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").write_text("seeds: [0\nruns: {}\n")
    assert "params.yaml:2: not YAML" in fail("train", ["toy-fc"], capsys)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seeds: [0]\ntitle: a\x07b\n", "params.yaml:2: not YAML: character 0x07"),
        ("seeds: [0]\ntitle: Gruß\n".encode("latin-1"), "params.yaml:2: got byte 0xdf, expected text in UTF-8"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(
    project: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("params.yaml").write_bytes(content)
    assert fail("prepare", ["squares"], capsys) == f"error: {said}\n"


def test_a_tracking_store_that_no_waiting_makes_usable_stops_a_stage_before_it_trains(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://127.0.0.1:9")
    assert "MLflow: ftp://127.0.0.1:9 cannot be used" in fail("train", ["toy-fc"], capsys)
    assert not (prepared / "models").exists()


def test_a_checkpoint_of_another_configuration_is_refused(prepared: Path) -> None:
    from pipeline import train

    train.main(["toy-fc", "--set", "epochs=1", "--seeds", "0", "--out", "first"])
    state = "first/seed-0.state.safetensors"
    with pytest.raises(ValueError, match=r"checkpoint of another configuration: lr: got 0\.01, expected 0\.02"):
        train.main(["toy-fc", "--set", "lr=0.02", "--seeds", "0", "--out", "second", "--resume", state])


def test_a_network_that_cannot_be_built_for_the_images_is_refused(prepared: Path) -> None:
    from pipeline import train

    with pytest.raises(ValueError, match="image_size: got 20, too small for conv_kernel 19"):
        train.main(["toy-fc", "--set", "conv_kernel=19", "--out", "x"])


def test_damaged_own_data_is_refused_by_prepare(project: Path) -> None:
    from pipeline import prepare

    whole = Path("squares.npz").read_bytes()
    Path("squares.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"squares\.npz: not an \.npz file, or a damaged one"):
        prepare.main(["squares"])
    assert not Path("data").exists()


def test_a_full_disk_names_the_error_and_keeps_the_last_checkpoint(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capsnet import tensors
    from capsnet.training.checkpoint import read_history
    from pipeline import train

    written: list[Path] = []
    write = tensors.write_whole

    def until_full(path: Path, content: str | bytes, **options: Any) -> None:
        if len(written) == 1:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        write(path, content, **options)

    monkeypatch.setattr(tensors, "write_whole", until_full)
    with pytest.raises(OSError, match="No space left on device"):
        train.main(["toy-fc"])
    assert len(read_history(written[0])) == 1
    monkeypatch.setattr(tensors, "write_whole", write)
    train.main(["toy-fc"])
    assert Path("models/toy-fc/history.csv").exists()


def test_one_class_alone_is_refused_by_prepare(project: Path) -> None:
    from pipeline import prepare

    with np.load("squares.npz") as arrays:
        changed = dict(arrays)
    for split in ("train", "test"):
        changed[f"{split}_labels"] = 0 * changed[f"{split}_labels"]
    np.savez("squares.npz", **changed)
    with pytest.raises(ValueError, match=r"squares\.npz: got images of one class, expected at least two classes"):
        prepare.main(["squares"])
    assert not Path("data").exists()


def test_images_that_no_network_sees_are_refused_by_prepare_and_those_that_need_a_crop_are_told_of(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline import prepare

    with np.load("squares.npz") as arrays:
        changed = dict(arrays)
    for size in (19, 65):
        for split in ("train", "test"):
            number = len(changed[f"{split}_labels"])
            changed[f"{split}_images"] = np.random.default_rng(number).integers(0, 256, (number, size, size), np.uint8)
        np.savez("squares.npz", **changed)
        if size == 19:
            with pytest.raises(ValueError, match=r"train_images: got images of 19x19 pixels, expected 20 to 64 a side"):
                prepare.main(["squares"])
    prepare.main(["squares"])
    assert (
        "warning: squares.npz: train_images: images of 65x65 pixels; a network sees 20 to 64" in capsys.readouterr().err
    )


def test_a_folder_of_labels_out_of_range_is_refused(project: Path) -> None:
    from pipeline import prepare

    with np.load("squares.npz") as arrays:
        changed = dict(arrays)
    changed["test_labels"] = changed["test_labels"] + 1
    np.savez("squares.npz", **changed)
    with pytest.raises(ValueError, match="test_labels: got 3, expected 0 to 2"):
        prepare.main(["squares"])


def test_scores_of_a_folder_without_models_are_refused_with_what_fills_it(project: Path) -> None:
    from pipeline import evaluate

    with pytest.raises(
        FileNotFoundError, match=r"--out: out: no trained models; `python -m pipeline.train toy-fc --out out`"
    ):
        evaluate.main(["toy-fc", "--out", "out"])


def test_a_full_gpu_ends_with_one_line_that_says_what_to_lower(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    with pytest.raises(SystemExit) as ended:
        run_stage(full)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: the GPU's memory is full; lower batch_size, or train one seed at a time")
    assert said.count("\n") == 1


def test_other_errors_of_torch_keep_their_traceback() -> None:
    def broken() -> None:
        raise RuntimeError("a mistake of ours")

    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run_stage(broken)
