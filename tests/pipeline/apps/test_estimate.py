"""How long the trainings of a study would take, from steps measured here."""

from pathlib import Path

import pandas as pd
import pytest
from tiny_project import ROOT, SHAPES, TINY, tiny_params, write_params

from pipeline.apps import estimate
from pipeline.apps.estimate import Estimate, Images, gpu_hours, images_of, rows_of
from pipeline.runtime.device import Hardware
from pipeline.settings.params import load_params
from pipeline.settings.runs import Run

MEASURED = [Estimate("a", 3, 10, 3600, 100.0, "CPU, 2 threads"), Estimate("b", 1, 20, 7200, 10.0, "CPU, 2 threads")]


def costs(*rows: tuple[str, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["run", "seconds_an_epoch", "hardware"])


def test_hours_are_those_of_all_epochs_of_all_seeds() -> None:
    assert [each.hours for each in MEASURED] == pytest.approx([0.3, 4.0])
    rows = rows_of(MEASURED, {})
    assert rows[0] == {
        "run": "a", "seeds": 3, "epochs": 10, "images in an epoch": 3600, "images per second": 100.0, "hours": 0.3,
    }  # fmt: skip
    assert rows[-1] == dict.fromkeys(rows[0], "") | {"run": "all", "hours": 4.3}


def test_a_run_that_no_gpu_trained_gains_as_much_as_the_one_that_gains_least() -> None:
    other = Estimate("c", 1, 1, 3600, 1.0, "CPU, 2 threads")
    recorded = costs(("a", 0.36, "GPU"), ("a", 0.36, "GPU"), ("b", 7.2, "GPU"), ("c", 1.0, "CPU, 2 threads"))
    hours = gpu_hours([*MEASURED, other], recorded)
    assert hours == pytest.approx({"a": 0.003, "b": 0.04, "c": 1 / 100})  # a gains 100 times, b too
    slower = costs(("a", 0.36, "GPU"), ("b", 36.0, "GPU"))
    assert gpu_hours([*MEASURED, other], slower)["c"] == pytest.approx(1 / 20)
    assert rows_of(MEASURED, {"a": 0.25, "b": 0.5})[-1]["hours on one GPU"] == 0.75
    assert gpu_hours(MEASURED, None) == gpu_hours(MEASURED, costs(("a", 1.0, "CPU, 2 threads"))) == {}


def test_official_images_have_the_shapes_that_they_are_prepared_in(project: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    assert {name: tuple(images_of(name, params))[1:] for name in SHAPES} == SHAPES


def test_every_run_of_the_study_is_measured_before_its_data_are_here(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = tiny_params()
    values["datasets"] |= {
        "toys": {"format": "smallnorb", "raw": "x", "views": "mono"},
        "pairs": {"format": "smallnorb", "raw": "x", "views": "stereo"},
    }
    values["runs"] = {"toy-fc": TINY | {"dataset": "toys", "validation": 0.25}}
    for section in ("figures", "compare", "pairs", "robustness", "published", "published_weights", "tune"):
        values[section] = {}
    values["tables"] = {"toy-decoders": {**values["tables"]["toy-decoders"], "runs": ["toy-fc"]}}
    values["studies"]["toy"]["tables"] = ["decoders"]
    write_params(project, values)
    params = load_params()
    assert images_of("toys", params) == Images(48_600, 48, 1, 5)
    assert images_of("pairs", params) == Images(24_300, 48, 2, 5)
    measured: list[float] = []
    measure = estimate.speed

    def slow(name: str, run: Run, images: Images, hardware: Hardware) -> float:
        """Measure the speed, and return one at which the training takes hours."""
        measured.append(measure(name, run, images, hardware))
        return 10.0

    monkeypatch.setattr(estimate, "speed", slow)
    estimate.main(["toy"])
    assert len(measured) == 1
    assert measured[0] > 0
    table = pd.read_csv("reports/estimate.csv")
    assert table["run"].tolist() == ["toy-fc", "all"]
    assert table["images in an epoch"][0] == 48_600 * 0.75
    hours = round(2 * 2 * 48_600 * 0.75 / 10 / 3600, 1)  # 2 seeds, 2 epochs
    assert table["hours"].tolist() == [hours, hours]
    said = capsys.readouterr().out
    assert said.startswith("toy-fc: 10.0 images/s, ")
    assert "reports/estimate.csv: 1 runs on " in said
    with pytest.raises(ValueError, match="study: got 'nobody', expected one of toy"):
        estimate.main(["nobody"])
