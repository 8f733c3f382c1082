"""Networks that separate pairs see a field larger than the images of their data: what predict and explore do then."""

from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_project import squares

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline.apps import explore, predict
from pipeline.apps.network import open_network
from pipeline.runtime.command_line import run_stage

pytestmark = pytest.mark.usefixtures("one_thread")
FILE = Path("models/toy-pairs/seed-0.safetensors")


def save(path: Path, model: ModelConfig, task: str) -> None:
    torch.manual_seed(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, CapsNet(model), {"settings": {"dataset": "squares", "crop": 0, "task": task}})


@pytest.fixture
def pairs(prepared: Path, field: ModelConfig) -> str:
    """A run that separates pairs, whose data set is prepared."""
    save(FILE, field, "separate")
    return "toy-pairs"


def test_predict_gives_such_a_network_its_whole_field_with_and_without_its_data(
    pairs: str, field: ModelConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(squares(1, 0)[0][0]).save("a.png")
    capsys.readouterr()
    said = []
    for _ in range(2):
        assert open_network(FILE).size == field.image_size > 20
        predict.main([pairs, "a.png", "--json"])
        said.append(capsys.readouterr().out)
        Path("data/squares.json").unlink(missing_ok=True)
    assert said[0].startswith('{"path": "a.png"')
    assert said[0] == said[1]


def test_the_explorer_refuses_such_a_network_in_one_line(pairs: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(explore.main, [pairs]))
    said = f"error: {FILE}: got a network that separates pairs of images, expected one that recognises single images\n"
    assert (ended.value.code, capsys.readouterr().err) == (2, said)


def test_the_explorer_chooses_no_such_network_by_itself(
    pairs: str, tiny_model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore, "best_of_published", lambda: pairs)
    with pytest.raises(FileNotFoundError, match="RUN: missing, and no data set is prepared"):
        explore.default_run()
    save(Path("models/zebra/seed-0.safetensors"), tiny_model, "classify")
    assert explore.default_run() == "zebra"
