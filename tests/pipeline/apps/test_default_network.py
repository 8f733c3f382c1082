"""Without the name of a run, predict and explore use the best network that comes with the repository."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_project import squares

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline.apps import explore, predict
from pipeline.apps.network import best_published

pytestmark = pytest.mark.usefixtures("project", "one_thread")


def publish(run: str, seed: int, accuracy: float, model: ModelConfig, dataset: str = "squares") -> None:
    """Put a network and its manifest into published/."""
    torch.manual_seed(seed)
    path = Path(f"published/{run}-seed-{seed}.safetensors")
    path.parent.mkdir(exist_ok=True)
    save_model(path, CapsNet(model), {"settings": {"dataset": dataset, "crop": 0}})
    manifest = {"run": run, "seed": seed, "dataset": dataset, "accuracy": accuracy}
    path.with_suffix(".json").write_text(json.dumps(manifest))


@pytest.fixture
def pictures(tiny_model: ModelConfig) -> Path:
    """A folder of two pictures, beside three published networks of two runs: `steady` is better in the mean."""
    for run, seed, accuracy in (("lucky", 0, 99.9), ("lucky", 1, 90.0), ("steady", 3, 99.0)):
        publish(run, seed, accuracy, tiny_model)
    Path("in").mkdir()
    for number, image in enumerate(squares(2, 0)[0]):
        Image.fromarray(image).save(f"in/{number}.png")
    return Path("in")


@pytest.mark.parametrize("words", [["in/0.png"], ["in/0.png", "in/1.png"], ["in"]])
def test_pictures_without_a_run_are_read_by_the_best_published_network(
    words: list[str], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert best_published() == ["steady", "lucky"]
    predict.main(words)
    default = capsys.readouterr()
    assert default.err.startswith("note: read by steady, the best network in published/\n")
    predict.main(["steady", *words])
    assert capsys.readouterr().out == default.out != ""


def test_a_first_word_that_is_neither_network_nor_picture_is_an_error(pictures: Path) -> None:
    with pytest.raises(ValueError, match=r"RUN: got 'steadi', no such file or network; expected .* like steady"):
        predict.main(["steadi", "in/0.png"])
    with pytest.raises(FileNotFoundError, match=r"models/toy-fc: no trained models"):
        predict.main(["toy-fc", "in/0.png"])


def test_without_published_networks_a_run_must_be_named() -> None:
    Image.new("L", (20, 20)).save("0.png")
    for command in (lambda: predict.main(["0.png"]), lambda: explore.main([])):
        with pytest.raises(ValueError, match="RUN: missing, and published/ has no network"):
            command()


def test_explore_takes_the_best_network_whose_data_are_there(
    pictures: Path, tiny_model: ModelConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("elsewhere", 0, 99.99, tiny_model, dataset="distant")
    with pytest.raises(FileNotFoundError, match="no data set is prepared; `dvc repro prepare@distant` prepares"):
        explore.main([])
    Path("data").mkdir(exist_ok=True)
    Path("data/squares.json").write_text("{}")
    assert explore.default_run() == "steady"
    assert capsys.readouterr().out == (
        "note: exploring steady; `dvc repro prepare@distant` prepares the data set of elsewhere, the best network in "
        "published/\n"
    )
    Path("data/distant.json").write_text("{}")
    assert explore.default_run() == "elsewhere"
    assert capsys.readouterr().out == ""
