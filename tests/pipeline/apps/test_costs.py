"""What trainings took: from MLflow into a file for git, and from there into a table."""

import importlib
import shutil
from pathlib import Path

import pandas as pd
import pytest
from latex import parse_latex
from lost_store import openings
from made_study import write_metrics
from tiny_project import make_project, tiny_params, write_params

from pipeline.apps import costs, results
from pipeline.reporting.findings import FINDINGS
from pipeline.reporting.tables import build, write
from pipeline.reporting.typeset import read_parts
from pipeline.settings.params import load_params
from pipeline.tracking.lookup import RecordedTraining, find_training
from pipeline.tracking.process_facts import peak_memory

PATH = Path("reports/toy/metrics/costs.csv")
HEADER = [
    "Run", "Model", "Data", "Seconds per epoch", "Epochs", "n", "Hours, n seeds", "Peak memory (MB)", "Hardware",
    "Commit",
]  # fmt: skip
RUNS = ["toy-fc", "toy-deconv", "toy-pairs"]


def params_with_costs() -> dict:
    values = tiny_params()
    values["tables"]["toy-costs"] = {"study": "toy", "kind": "costs", "title": "What it took"}
    values["studies"]["toy"]["tables"].append("costs")
    return values


def write_costs(*rows: tuple[str, int, float, float]) -> None:
    """Write run, seed, seconds an epoch and hours."""
    everything = [
        {"run": run, "seed": seed, "epochs": 2, "images": 36, "seconds_an_epoch": seconds, "hours": hours}
        | {"peak_memory_mb": 700 + seed, "hardware": "a slide rule", "torch": "2", "commit": "0123456", "remark": None}
        for run, seed, seconds, hours in rows
    ]
    PATH.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(everything).to_csv(PATH, index=False)


@pytest.fixture
def costly(project: Path) -> Path:
    write_params(project, params_with_costs())
    return project


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained runs with their MLflow store."""
    folder = make_project(tmp_path_factory.mktemp("costs"))
    write_params(folder, params_with_costs())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        importlib.import_module("pipeline.prepare").main(["squares"])
        for run in ("toy-fc", "toy-deconv"):
            importlib.import_module("pipeline.train").main([run])
    return folder


def recorded_speeds(model: Path) -> list[float]:
    """Return the images per second of each epoch that MLflow recorded for a model."""
    training = find_training(model)
    assert training is not None
    return training.seed.history("images_per_second")


def test_what_mlflow_recorded_is_written_down_a_row_a_run_and_seed(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    costs.main(["toy", "--remark", "beside other work"])
    data = pd.read_csv(PATH)
    assert list(data.columns) == costs.COLUMNS
    assert data[["run", "seed"]].to_numpy().tolist() == [[run, s] for run in ("toy-deconv", "toy-fc") for s in (0, 1)]
    assert set(data["images"]) == {48 - 12}
    assert set(data["epochs"]) == {2}
    assert (data["peak_memory_mb"] > 50).all()
    assert set(data["remark"]) == {"beside other work"}
    shutil.rmtree("models/toy-deconv")
    monkeypatch.setattr(costs, "trained_on", lambda images, validation: 10**8)  # so that an epoch takes long
    costs.main(["toy"])
    again = pd.read_csv(PATH).set_index("run")
    speeds = [recorded_speeds(Path(f"models/toy-fc/seed-{seed}.safetensors")) for seed in (0, 1)]
    assert [len(of_seed) for of_seed in speeds] == [2, 2]
    took = [(10**8 / first + 10**8 / second) / 2 for first, second in speeds]
    assert again.loc["toy-fc", "seconds_an_epoch"].tolist() == pytest.approx(took, abs=0.01)
    assert again.loc["toy-deconv", "remark"].tolist() == ["beside other work"] * 2, "of no model here: stays"
    assert again.loc["toy-fc", "remark"].isna().all()


def test_the_store_is_opened_once_and_a_model_without_a_run_is_named(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    model = Path("models/toy-pairs/seed-0.safetensors")
    model.parent.mkdir()
    model.touch()
    opened = openings(monkeypatch)
    costs.main(["toy"])
    assert len(opened) == 1
    said = capsys.readouterr().out
    assert f"{model}: MLflow did not record its training here; no row is written\n" in said
    assert "pipeline.apps.record" not in said
    shutil.rmtree(model.parent)


def test_a_store_that_cannot_be_used_is_named(costly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "ftp://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"^MLflow: ftp://127\.0\.0\.1:9 cannot be used: "):
        costs.main(["toy"])


def test_without_a_recorded_training_nothing_is_written(costly: Path) -> None:
    with pytest.raises(
        ValueError, match="toy: got no model in models/ whose training MLflow recorded, expected at least one"
    ):
        costs.main(["toy"])
    assert not PATH.exists()


def test_seconds_are_images_by_speed_and_hours_those_of_all_epochs(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)

    class Recorded:
        def history(self, metric: str) -> list[float]:
            return {"images_per_second": [0.01, 0.03], "peak_memory_mb": [512.4]}.get(metric, [])

        def tag_value(self, name: str) -> str:
            return "0123456789"

    found = RecordedTraining(Recorded(), None)  # type: ignore[arg-type]
    path = Path("models/toy-fc/seed-0.safetensors")
    row = costs.cost("toy-fc", 0, path, found, load_params(), "")
    assert row["seconds_an_epoch"] == (3600 + 1200) / 2
    assert row["hours"] == pytest.approx(4800 / 3600, abs=1e-3)
    assert (row["peak_memory_mb"], row["commit"]) == (512, "0123456")
    environment = path.parent / "environment.json"
    environment.write_text(environment.read_text().replace("{", '{"cuda": "13",', 1))
    (path.parent / "seed-1.safetensors").unlink()  # the two were trained at the same time, wherever the other one is
    params = load_params()
    assert costs.cost("toy-fc", 0, path, found, params, "")["seconds_an_epoch"] == (3600 + 1200) / 2 / 2
    several = params.runs["toy-fc"].model_copy(update={"processes": 2})  # they train one seed after the other
    params = params.model_copy(update={"runs": {**params.runs, "toy-fc": several}})
    assert costs.cost("toy-fc", 0, path, found, params, "")["seconds_an_epoch"] == (3600 + 1200) / 2
    monkeypatch.setattr(Recorded, "history", lambda *arguments: [])
    with pytest.raises(ValueError, match=r"seed-0\.safetensors: MLflow has no images_per_second of its training"):
        costs.cost("toy-fc", 0, path, found, load_params(), "")


def test_the_table_has_a_row_for_each_recorded_run_and_names_those_that_are_scored_only(costly: Path) -> None:
    for run in ("toy-fc", "toy-pairs"):
        write_metrics(run, [97.0, 99.0])
    write_costs(("toy-fc", 0, 10.0, 1.0), ("toy-fc", 1, 30.0, 3.0), ("toy-deconv", 0, 1234.5, 2.25))
    write("toy-costs", load_params())
    cells = read_parts(Path("reports/toy/tables/costs.md").read_text())[0].cells
    assert cells == [
        HEADER,
        ["toy-fc", "FC", "squares", "20.0", "2", "2", "4.00", "701", "a slide rule", "0123456"],
        ["toy-deconv", "DeConv", "squares", "1,234.5", "2", "1", "2.25", "700", "a slide rule", "0123456"],
    ]
    caption, in_latex = parse_latex(Path("reports/toy/tables/costs.tex").read_text())
    assert in_latex == cells
    assert "Scored, but without recorded costs: toy-pairs." in caption
    csv = pd.read_csv("reports/toy/tables/costs.csv")
    assert FINDINGS["costs"](csv, load_params().tables["toy-costs"]) == [
        "6.2 hours of training are recorded, for 3 networks of 2 runs.",
        "An epoch of a seed takes 20.0 to 1,234.5 seconds on a slide rule.",
    ]


def test_without_anything_written_down_the_table_says_so_and_the_page_is_made(costly: Path) -> None:
    table = build("toy-costs", load_params())
    assert len(table.cells) == 1
    assert table.notes[0] == "No cost is recorded yet."
    results.main(["toy"])
    page = Path("reports/toy/README.md").read_text()
    assert "No cost is recorded yet." in page
    assert "of training are recorded" not in page
    write_costs(("toy-fc", 0, 10.0, 1.0))
    results.main(["toy"])
    page = Path("reports/toy/README.md").read_text()
    assert "No cost is recorded yet." not in page
    assert "1.0 hours of training are recorded, for 1 networks of 1 runs." in page


def test_memory_is_that_of_this_process() -> None:
    assert 50 < peak_memory()["peak_memory_mb"] < 200_000
