"""The script of the first minutes on a GPU, on a CPU: it has no error left when it is needed."""

import csv
import json
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_project import ROOT
from warm_python import warm

from pipeline.settings.params import load_params, override
from tests.gpu import stages_on_gpu
from tests.gpu.__main__ import Step, marked_files, run, training
from tests.gpu.gpu_table import GpuRow, RowSheet, number, tell
from tests.gpu.measured_runs import failures_told
from tests.gpu.speed import pays
from tests.gpu.step_cost import step_cost


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def sheet(tmp_path: Path) -> RowSheet:
    return RowSheet(tmp_path)


def written(folder: Path) -> list[dict[str, str]]:
    with (folder / "tables" / "gpu.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_row_that_a_step_tells_is_the_row_that_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    tell("speed", "images/s", 12.5, "ok", "a note")
    assert GpuRow.read(capsys.readouterr().out, "steps") == GpuRow("steps", "speed", "images/s", 12.5, "ok", "a note")
    assert GpuRow.read("another line", "steps") is None


@pytest.mark.parametrize(
    ("value", "expected"), [(None, ""), (3.0, "3"), (12345.0, "12,345"), (1234.5, "1,234"), (0.01234, "0.0123")]
)
def test_numbers_have_three_digits_or_more(value: float | None, expected: str) -> None:
    assert number(value) == expected


def test_rows_of_a_step_that_fails_later_are_kept_and_it_hides_no_other(sheet: RowSheet, tmp_path: Path) -> None:
    row = json.dumps({"measurement": "speed", "unit": "images/s", "value": 5.0, "verdict": "", "note": ""})
    failing = Step("first", python(f"print('row: ' + {row!r}); raise ValueError('no such card')"), 60)
    assert not run(failing, 60, sheet, tmp_path, "cpu")
    assert run(Step("second", python("print('fine')"), 60), 60, sheet, tmp_path, "cpu")
    verdicts = [(row["step"], row["measurement"], row["verdict"]) for row in written(tmp_path)]
    assert verdicts == [("first", "speed", ""), ("first", "time", "failed"), ("second", "time", "ok")]
    assert "no such card" in (tmp_path / "first.log").read_text()
    assert "**failed**" in sheet.markdown()


def test_the_table_of_steps_has_a_row_for_each_network_and_batch_and_says_what_failed(sheet: RowSheet) -> None:
    for measurement, value in (
        ("plain network (bmm, eager), float32, batch 8", 10.0),
        ("run, float32, batch 8", 20.0),
        ("run, float32, batch 8, steps not replayed", 5.0),
        ("run, bfloat16, batch 8", None),
    ):
        sheet.add(GpuRow("steps", measurement, "images/s", value))
    sheet.add(GpuRow("steps", "run, float32: largest batch that pays", "images", 8.0))
    rows = sheet.images_per_second().splitlines()
    assert rows[0] == "| Network | Batch | float32 | bfloat16 |"
    assert rows[2:4] == ["| plain network (bmm, eager) | 8 | 10 |  |", "| run | 8 | 20 | failed |"]
    assert not rows[4]


def test_a_step_that_takes_too_long_is_ended_and_called_so(sheet: RowSheet, tmp_path: Path) -> None:
    assert not run(Step("slow", python("import time; time.sleep(60)"), 1), 1, sheet, tmp_path, "cpu")
    assert written(tmp_path)[0]["verdict"] == "too slow"


def test_tests_of_which_none_ran_have_failed_on_a_gpu(sheet: RowSheet, tmp_path: Path) -> None:
    assert not run(Step("tests x", python("print('3 skipped in 1s')"), 60), 60, sheet, tmp_path, "cuda")
    assert run(Step("tests y", python("print('3 passed in 1s')"), 60), 60, sheet, tmp_path, "cuda")


def test_the_training_takes_as_many_epochs_as_there_is_time_for(sheet: RowSheet) -> None:
    settings = {"precision": "tf32", "small": False}
    assert training(100, sheet, settings) is None
    sheet.add(GpuRow("epoch", "mnist-deconv_bn, tf32: an epoch", "s", 10.0))
    for seconds, epochs in ((155, 10), (10_000, 25)):
        step = training(seconds, sheet, settings)
        assert step is not None
        assert json.loads(step.command[-1])["epochs"] == epochs
    assert training(55, sheet, settings) is None


def test_every_file_with_tests_for_a_gpu_is_run() -> None:
    assert {"test_gpu.py", "test_triton_routing.py", "test_protocols.py"} <= {path.name for path in marked_files()}


def test_a_step_with_a_failed_row_has_failed_though_its_process_ended_well(sheet: RowSheet, tmp_path: Path) -> None:
    row = json.dumps({"measurement": "error", "unit": "relative", "value": 1.0, "verdict": "failed", "note": ""})
    assert not run(Step("checks", python(f"print('row: ' + {row!r})"), 60), 60, sheet, tmp_path, "cpu")
    assert [row["verdict"] for row in written(tmp_path)] == ["failed", "failed"]


def test_an_error_in_one_measurement_is_a_failed_row_and_the_next_one_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error in (ValueError("no kernel"), torch.OutOfMemoryError("2 GiB")):
        with failures_told("speed", "images/s"):
            raise error
    lines = capsys.readouterr().out.splitlines()
    first, second = (GpuRow.read(line, "steps") for line in lines)
    assert first == GpuRow("steps", "speed", "images/s", None, "failed", "ValueError: no kernel")
    assert second == GpuRow("steps", "speed", "images/s", None, "", "more than the card's memory")


def test_a_batch_pays_if_it_is_clearly_faster_than_every_smaller_one() -> None:
    measured = {128: 100.0, 512: 150.0, 2048: 151.0}
    assert [batch for batch in (*measured, 8192) if pays(measured, batch)] == [128, 512]


def test_the_cost_of_a_step_is_that_of_its_convolutions_and_products_worked_by_hand() -> None:
    """Two convolutions, a vote of every primary capsule, sums and agreements in two iterations, three layers."""
    model = load_params().runs["mnist-fc"].model(28, 1, 10)
    convolutions = 20**2 * 256 * 81 + 6**2 * 256 * 256 * 81
    decoder = 160 * 512 + 512 * 1024 + 1024 * 784
    cost = step_cost(model)
    routing = cost.operations / 6 - convolutions - decoder
    assert 1 <= routing / (1152 * 10 * 8 * 16) <= 8
    read_once = (3 + 7) * 4 * 8_215_568  # by forward and backward pass, and by Adam
    assert read_once <= cost.step_bytes <= 2 * read_once
    assert cost.bytes(3) - cost.bytes(1) == pytest.approx(2 * cost.image_bytes)


def test_a_warning_of_the_first_product_in_autograd_s_thread_is_no_error() -> None:
    """On a GPU the thread has no context yet. Any other warning is an error."""
    warnings.warn("Attempting to run cuBLAS, but there was no current CUDA context! Attempting to ...", stacklevel=1)
    with pytest.raises(UserWarning, match="another one"):
        warnings.warn("another one", stacklevel=1)


@pytest.mark.parametrize(("gpus", "loss", "verdict"), [(2, "0.25", "ok"), (2, "nan", "failed"), (1, "", "")])
def test_two_processes_train_where_there_are_two_gpus(
    gpus: int, loss: str, verdict: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over gloo, a run in two processes is tested beside `pipeline.runtime.launch`."""
    commands: list[tuple[str, ...]] = []

    def stage(*arguments: str) -> None:
        commands.append(arguments)
        (Path(arguments[-1]) / "history.csv").write_text(f"seed,epoch,train_loss\n0,1,{loss}\n")

    monkeypatch.setattr(stages_on_gpu, "usable_processes", lambda number, device: min(number, gpus))
    monkeypatch.setattr(stages_on_gpu, "_stage", stage)
    stages_on_gpu.processes({"device": "cuda", "small": True})
    row = GpuRow.read(capsys.readouterr().out, "processes")
    assert row is not None
    assert row.verdict == verdict
    assert bool(commands) == (gpus == 2)
    for command in commands:
        assert command[:2] == ("train", "mnist-fc")
        settings = [value for name, value in pairwise(command) if name == "--set"]
        assert {"epochs=1", "processes=2", "device=cuda", "seeds=[0]", "conv_channels=8"} <= set(settings)
        override(load_params().runs["mnist-fc"], settings, "--set")


@pytest.mark.slow
def test_every_step_that_needs_one_device_runs_in_small_on_a_cpu(tmp_path: Path) -> None:
    only = ["--only", "checks", "steps", "epoch", "checkpoint", "training"]
    command = ["python", "-m", "tests.gpu", "--device", "cpu", "--small", "--out", str(tmp_path), *only]
    variables = warm(throughout=True)
    ended = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = written(tmp_path)
    assert {row["step"] for row in rows} == {"environment", *only[1:]}
    assert {row["verdict"] for row in rows} == {"", "ok"}
    assert json.loads((tmp_path / "environment.json").read_text())["card"] == "CPU, in place of a GPU"
    (scores,) = [row["note"] for row in rows if row["step"] == "training" and row["unit"] == "s" and row["note"]]
    assert re.match(r"accuracy [\d.]+ %, RLoss [\d.]+ after 2 epochs, n = 1; images are made up", scores)
    table = (tmp_path / "tables" / "gpu.md").read_text()
    assert table in ended.stdout
    assert "| training | mnist-deconv_bn, tf32: 2 epochs" in table
    assert scores in (tmp_path / "tables" / "costs.md").read_text()
