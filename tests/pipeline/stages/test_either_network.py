"""Every stage takes a run of the network with self-attention routing, too: nothing but params.yaml says which it is."""

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest
from like_a_gpu import REFUSED, Operations
from PIL import Image
from tiny_project import make_project, squares, tiny_params, write_params

from pipeline.draw import DRAWERS

RUN = "toy-attention"
REPORTS = Path("reports/toy")


def run_stage(name: str, arguments: list[str]) -> None:
    importlib.import_module(f"pipeline.{name}").main(arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose pictures and tables are of that run."""
    folder = make_project(tmp_path_factory.mktemp("attention"))
    params = tiny_params()
    params["figures"]["squares"]["run"] = RUN
    params["robustness"] = {RUN: params["robustness"]["toy-fc"]}
    params["tables"]["toy-benchmarks"]["runs"] = [{"run": RUN, "ensemble": True}]
    params["tables"]["toy-robustness"]["runs"] = [RUN]
    params["published"] = {}
    write_params(folder, params)
    operations = Operations()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        with operations:
            run_stage("prepare", ["squares"])
            for stage in ("train", "evaluate", "rotate"):
                run_stage(stage, [RUN])
            for table in ("toy-benchmarks", "toy-robustness"):
                run_stage("tabulate", [table])
            run_stage("decode", ["squares"])
            run_stage("draw", ["squares"])
    assert not operations.names & REFUSED
    return folder


@pytest.fixture
def there(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished)
    return finished


def test_every_picture_is_drawn_and_says_what_the_network_does(there: Path) -> None:
    told = json.loads((there / REPORTS / "figures/squares/figures.json").read_text())
    captions = {each["name"]: f"{each['finding']} {each['caption']}" for each in told["figures"]}
    assert set(captions) == set(DRAWERS)
    assert all((there / REPORTS / f"figures/squares/{name}.png").is_file() for name in captions)
    assert "if all get the same attention" in captions["coupling"]
    assert "on the object" not in captions["coupling"]
    assert "of the 2 primary capsules shared it equally" in captions["coupling"]


def test_tables_name_the_routing_and_have_the_ensemble(there: Path) -> None:
    benchmarks = pd.read_csv(there / REPORTS / "tables/benchmarks.csv")
    expected = ["self-attention, FC", "self-attention, FC (ensemble of 2)", "Others"]
    assert benchmarks["model"].tolist() == expected
    notes = (there / REPORTS / "tables/robustness.md").read_text()
    assert "toy-attention was trained on images rotated by up to 20°" in notes
    assert "no training rotates images" not in notes


def test_a_picture_is_recognised_and_the_network_exported(
    there: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = squares(1, 5)
    Image.fromarray(images[0]).save(tmp_path / "square.png")
    run_stage("apps.predict", [RUN, str(tmp_path / "square.png"), "--as", "picture"])
    assert "square.png" in capsys.readouterr().out
