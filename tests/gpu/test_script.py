"""The script of the first minutes on a GPU, on a CPU: it has no error left when it is needed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_project import ROOT

from tests.gpu.__main__ import Step, marked_files, run, training
from tests.gpu.gpu_table import GpuRow, Sheet, number, tell


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.fixture
def sheet(tmp_path: Path) -> Sheet:
    return Sheet(tmp_path)


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


def test_rows_of_a_step_that_fails_later_are_kept_and_it_hides_no_other(sheet: Sheet, tmp_path: Path) -> None:
    row = json.dumps({"measurement": "speed", "unit": "images/s", "value": 5.0, "verdict": "", "note": ""})
    failing = Step("first", python(f"print('row: ' + {row!r}); raise ValueError('no such card')"), 60)
    assert not run(failing, 60, sheet, tmp_path, "cpu")
    assert run(Step("second", python("print('fine')"), 60), 60, sheet, tmp_path, "cpu")
    verdicts = [(row["step"], row["measurement"], row["verdict"]) for row in written(tmp_path)]
    assert verdicts == [("first", "speed", ""), ("first", "time", "failed"), ("second", "time", "ok")]
    assert "no such card" in (tmp_path / "first.log").read_text()
    assert "**failed**" in sheet.markdown()


def test_a_step_that_takes_too_long_is_ended_and_called_so(sheet: Sheet, tmp_path: Path) -> None:
    assert not run(Step("slow", python("import time; time.sleep(60)"), 1), 1, sheet, tmp_path, "cpu")
    assert written(tmp_path)[0]["verdict"] == "too slow"


def test_tests_of_which_none_ran_have_failed_on_a_gpu(sheet: Sheet, tmp_path: Path) -> None:
    assert not run(Step("tests x", python("print('3 skipped in 1s')"), 60), 60, sheet, tmp_path, "cuda")
    assert run(Step("tests y", python("print('3 passed in 1s')"), 60), 60, sheet, tmp_path, "cuda")


def test_the_training_takes_as_many_epochs_as_there_is_time_for(sheet: Sheet) -> None:
    settings = {"precision": "tf32"}
    assert training(100, sheet, settings) is None
    sheet.add(GpuRow("epoch", "mnist-deconv_bn, tf32: an epoch", "s", 10.0))
    for seconds, epochs in ((130, 10), (10_000, 25)):
        step = training(seconds, sheet, settings)
        assert step is not None
        assert json.loads(step.command[-1])["epochs"] == epochs
    assert training(25, sheet, settings) is None


def test_every_file_with_tests_for_a_gpu_is_run() -> None:
    assert {"test_gpu.py", "test_triton_routing.py", "test_protocols.py"} <= {path.name for path in marked_files()}


@pytest.mark.slow
def test_every_step_runs_in_small_on_a_cpu(tmp_path: Path) -> None:
    only = ["--only", "checks", "steps", "epoch", "checkpoint"]
    command = [sys.executable, "-m", "tests.gpu", "--device", "cpu", "--small", "--out", str(tmp_path), *only]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = written(tmp_path)
    assert {row["step"] for row in rows} == {"environment", *only[1:]}
    assert {row["verdict"] for row in rows} == {"", "ok"}
    assert json.loads((tmp_path / "environment.json").read_text())["card"] == "CPU, in place of a GPU"
    assert (tmp_path / "tables" / "gpu.md").read_text() in ended.stdout
