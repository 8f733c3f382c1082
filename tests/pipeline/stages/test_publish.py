"""Weights for git: what their manifest says, and what they stand in for where a run is not trained."""

import hashlib
import importlib
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_project import VARIANTS, make_project, tiny_params, write_params

import capsnet
from capsnet.evaluation.recognition import evaluate
from pipeline import publish
from pipeline.apps.network import find_model, open_network
from pipeline.apps.results import lacking
from pipeline.reporting.figures_shown import figure_sets
from pipeline.runtime.command_line import run_stage
from pipeline.runtime.prepared import read_prepared
from pipeline.settings.params import load_params

NAMES = tiny_params()["published_weights"]
FIGURES = Path("reports/toy/figures")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained, scored and published runs, to be copied."""
    folder = make_project(tmp_path_factory.mktemp("published"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        importlib.import_module("pipeline.prepare").main(["squares"])
        for run in ("toy-fc", "toy-deconv_bn"):
            for stage in ("train", "evaluate"):
                importlib.import_module(f"pipeline.{stage}").main([run])
        for name in NAMES:
            publish.main([name])
    return folder


@pytest.fixture
def there(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifest_of(name: str) -> dict:
    return dict(json.loads(Path(f"published/{name}.json").read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_has_the_scores_and_the_digests_of_that_very_file(name: str, there: Path) -> None:
    manifest, path = manifest_of(name), Path(f"published/{name}.safetensors")
    content = path.read_bytes()
    assert (manifest["bytes"], manifest["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert manifest["md5"] == hashlib.md5(content).hexdigest()
    test = read_prepared("squares", "test", torch.device("cpu"))
    scores = evaluate(capsnet.load(path), test.images, test.labels)
    assert {key: manifest[key] for key in ("accuracy", "rloss", "mloss")} == pytest.approx(
        {key: getattr(scores, key) for key in ("accuracy", "rloss", "mloss")}
    )
    metrics = json.loads(Path(f"reports/toy/metrics/{manifest['run']}.json").read_text())
    assert manifest["scores"]["float32"]["accuracy"] == metrics["seeds"][str(manifest["seed"])]["accuracy"]
    assert {"run", "seed", "dtype", "dataset", "note", "epochs", "parameters", "trained"} <= manifest.keys()


def test_in_bfloat16_weights_are_half_as_long_and_load_into_float32(there: Path) -> None:
    path, trained = Path("published/toy-deconv_bn.safetensors"), Path("models/toy-deconv_bn/seed-0.safetensors")
    kept, exact = load_file(path), load_file(trained)
    assert {each.dtype for each in kept.values()} == {torch.bfloat16, torch.int64}  # batch normalisation counts
    model = capsnet.load(path)
    for name, value in model.state_dict().items():
        assert value.dtype == exact[name].dtype
        assert torch.equal(value, exact[name].bfloat16().float() if value.is_floating_point() else exact[name])
    assert model.config == capsnet.load(trained).config
    assert manifest_of("toy-deconv_bn")["dtype"] == "bfloat16"


def test_in_float32_the_file_is_the_trained_one(there: Path) -> None:
    content = Path("published/toy-fc-seed-1.safetensors").read_bytes()
    assert content == Path("models/toy-fc/seed-1.safetensors").read_bytes()
    assert manifest_of("toy-fc-seed-1")["scores"].keys() == {"float32"}


def test_where_rounding_moves_the_accuracy_the_weights_stay_in_float32(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "TOLERANCE", -1.0)
    publish.main(["toy-deconv_bn"])
    manifest = manifest_of("toy-deconv_bn")
    assert manifest["dtype"] == "float32"
    assert manifest["scores"].keys() == {"float32", "bfloat16"}
    trained = Path("models/toy-deconv_bn/seed-0.safetensors").read_bytes()
    assert Path("published/toy-deconv_bn.safetensors").read_bytes() == trained


def test_the_same_models_are_published_to_the_same_bytes(there: Path) -> None:
    before = {path: path.read_bytes() for path in Path("published").iterdir()}
    for name in NAMES:
        publish.main([name])
    assert {path: path.read_bytes() for path in Path("published").iterdir()} == before


def test_a_seed_that_is_not_trained_cannot_be_published(there: Path) -> None:
    Path("models/toy-fc/seed-1.safetensors").unlink()
    with pytest.raises(ValueError, match="seed: got 1, expected one of the trained seeds of toy-fc: 0"):
        publish.main(["toy-fc-seed-1"])


def test_a_published_network_answers_where_none_is_trained(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_model("toy-fc", None) == Path("models/toy-fc/seed-0.safetensors")
    shutil.rmtree("models")
    assert find_model("toy-fc", None) == find_model("toy-fc", 1) == Path("published/toy-fc-seed-1.safetensors")
    network = open_network(find_model("toy-deconv_bn", None))
    assert (network.dataset, network.size) == ("squares", 20)
    with pytest.raises(ValueError, match="--seed: got 0, expected one of 1 for toy-fc"):
        find_model("toy-fc", 0)
    with pytest.raises(FileNotFoundError, match=r"in models/: none yet, or in published/: toy-deconv_bn, toy-fc$"):
        find_model("nobody", None)


def test_pictures_of_a_run_are_drawn_from_its_published_weights_without_what_else_is_missing(there: Path) -> None:
    values = tiny_params()
    pictures = ["curves", "reconstructions", "confusion", "calibration", "attributes", "primary"]
    values["figures"]["squares"]["pictures"] = pictures
    write_params(there, values)
    shutil.rmtree("models")
    importlib.import_module("pipeline.draw").main(["squares"])
    told = json.loads((FIGURES / "squares/figures.json").read_text())
    assert [each["name"] for each in told["figures"]] == pictures[:-1]
    assert told["weights"] == ["published/toy-deconv_bn.safetensors"]
    assert told["left_out"] == [
        "primary: there is no decoder of primary capsules (`python -m pipeline.decode squares` makes it)",
    ]
    history = pd.read_csv("reports/toy/metrics/toy-deconv_bn-history.csv")
    assert history["seed"].nunique() == 2, "the course of every seed is in git"
    importlib.import_module("pipeline.decode").main(["squares"])
    importlib.import_module("pipeline.draw").main(["squares"])
    told = json.loads((FIGURES / "squares/figures.json").read_text())
    assert [each["name"] for each in told["figures"]] == pictures


def test_pictures_that_the_data_cannot_show_are_left_out_and_named(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline import draw
    from pipeline.runtime import prepared

    values = tiny_params()
    values["figures"]["squares"]["pictures"] = ["curves", "attributes"]
    write_params(there, values)
    read = prepared.read_split
    monkeypatch.setattr(prepared, "read_split", lambda *arguments: read(*arguments)._replace(attributes={}))
    draw.main(["squares"])
    told = json.loads((FIGURES / "squares/figures.json").read_text())
    assert [each["name"] for each in told["figures"]] == ["curves"]
    said = "attributes: the images of squares have no azimuth, elevation, lighting"
    assert told["left_out"] == [said]
    assert "weights" not in told
    assert f"left out: {said}\n" in capsys.readouterr().out


def test_runs_that_are_not_trained_are_left_out_of_a_comparison_as_long_as_two_are(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = importlib.import_module("pipeline.compare")
    compare.main(["toy-decoders"])
    told = json.loads((FIGURES / "toy-decoders/figures.json").read_text())
    assert told["runs"] == ["toy-fc", "toy-deconv_bn"]
    assert len(told["left_out"]) == len(VARIANTS) - 2
    assert "toy-deconv: it is not trained here (`dvc repro evaluate@toy-deconv` trains it)" in told["left_out"]
    assert [each["name"] for each in told["figures"]] == ["curves", "reconstructions"]
    shutil.copy("reports/toy/metrics/toy-fc-history.csv", "reports/toy/metrics/toy-deconv-history.csv")
    shutil.copy("reports/toy/metrics/toy-fc.json", "reports/toy/metrics/toy-deconv.json")
    drawn: list[str] = []
    draw_curves = importlib.import_module("pipeline.drawing.curves").draw_curves

    def noted(histories: dict, scores: dict) -> object:
        drawn.extend(histories)
        return draw_curves(histories, scores)

    monkeypatch.setattr("pipeline.drawing.curves.draw_curves", noted)
    compare.main(["toy-decoders"])
    assert drawn == ["FC", "DeConv", "DeConv w/ BN"], "a curve needs no network"
    told = json.loads((FIGURES / "toy-decoders/figures.json").read_text())
    assert told["runs"] == ["toy-fc", "toy-deconv_bn"]
    missing = "toy-deconv: its weights are not here, so only its curve is drawn"
    assert f"{missing} (`dvc repro evaluate@toy-deconv` trains it again)" in told["left_out"]
    shutil.rmtree("models/toy-fc")
    shutil.rmtree("published")
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(compare.main, ["toy-decoders"]))
    assert ended.value.code == 2
    assert "models/toy-fc: no trained models; `dvc repro train@toy-fc` makes them" in capsys.readouterr().err


def test_pictures_can_be_drawn_where_networks_scores_and_images_are(there: Path) -> None:
    def lacked() -> list[str]:
        return [lacking(each) for each in figure_sets("toy", load_params())]

    nothing = "there is no network"
    assert [each.name for each in figure_sets("toy", load_params())] == ["toy-decoders", "squares", "toy-pairs"]
    assert lacked() == ["", "", nothing]
    shutil.rmtree("models")
    assert lacked() == ["", "", nothing]
    Path("published/toy-fc-seed-1.json").unlink()
    assert lacked() == [nothing, "", nothing]
    Path("data/squares.npz").unlink()
    assert lacked()[1] == "only the images are missing: run `dvc repro prepare@squares`, then this command again"
    Path("reports/toy/metrics/toy-deconv_bn-history.csv").unlink()
    assert lacked()[1] == "there are no scores of toy-deconv_bn"


def test_results_are_drawn_once_and_again_when_a_model_is_newer_or_asked_for(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import draw, rotate
    from pipeline.apps import results

    values = tiny_params()
    for run in values["robustness"]:
        rotate.main([run])
    values["figures"]["squares"]["pictures"] = ["curves"]
    write_params(there, values | {"compare": {}, "pairs": {}, "tune": {}, "tables": {}, "studies": {"toy": STUDY}})
    drawn: list[str] = []

    def draw_and_note(arguments: Sequence[str]) -> None:
        drawn.extend(arguments)
        draw.main(arguments)

    monkeypatch.setitem(results.DRAWS, "draw", draw_and_note)
    for _ in range(2):
        results.main(["toy"])
    assert drawn == ["squares"]
    Path("models/toy-deconv_bn/seed-0.safetensors").touch()
    results.main(["toy"])
    results.main(["toy", "--draw"])
    assert drawn == ["squares"] * 3
    assert "What is missing" not in Path("reports/toy/index.html").read_text()


STUDY = {"title": "Toy", "about": "Squares.", "tables": []}


def test_a_damaged_manifest_is_named(there: Path) -> None:
    Path("published/toy-fc-seed-1.json").write_text('{"run": "toy-fc"}')
    shutil.rmtree("models")
    with pytest.raises(ValueError, match=r"published/toy-fc-seed-1\.json: got KeyError\('seed'\), expected a manifest"):
        find_model("toy-fc", None)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("toy-fc", {}, "published_weights.toy-fc: got 'toy-fc', expected one of toy-deconv_bn, toy-deconv_bn-seed-0"),
        ("toy-deconv_bn", {"seed": -1}, "published_weights.toy-deconv_bn.seed: got -1, expected greater than or equal"),
        ("toy-deconv_bn", {"dtype": "int8"}, "published_weights.toy-deconv_bn.dtype: got 'int8', expected 'bfloat16'"),
        ("toy-deconv_bn", {"dataset": "x"}, "published_weights.toy-deconv_bn.dataset: got 'x', expected one of squ"),
        ("toy-deconv_bn", {"run": "x"}, "published_weights.toy-deconv_bn.run: got 'x', expected one of toy-"),
    ],
)
def test_weights_are_called_after_their_run_and_seed(name: str, change: dict, said: str, project: Path) -> None:
    values = tiny_params()
    values["published_weights"] = {name: NAMES["toy-deconv_bn"] | change}
    write_params(project, values)
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert said in str(caught.value)
