"""Files of training states: read back to the bit, refused by name, whole on a full disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from disks import fill_disk

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from capsnet.tensors import write_tensors
from capsnet.training.checkpoint import STATE, load_state, read_history, save_state

pytestmark = pytest.mark.usefixtures("one_thread")
TENSORS = {"model.weight": torch.arange(6.0).view(2, 3), "optimizer.weight.step": torch.tensor(3.0)}
BELONGS_TO = {"lr": 0.001, "decoder_hidden": (16, 24), "epochs": 4, "seed": 0}
HISTORY: list[dict[str, Any]] = [{"train_rloss": None, "epoch": 1, "train_loss": 0.1 + 0.2}]


def test_a_training_state_is_read_back_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, TENSORS, BELONGS_TO, HISTORY)
    tensors, history = load_state(path, BELONGS_TO)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert history == read_history(path) == HISTORY
    assert list(history[0]) == list(HISTORY[0]), "the order is that of the columns of history.csv"


def test_a_training_state_of_fewer_epochs_is_accepted_and_one_of_more_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, TENSORS, BELONGS_TO, HISTORY)
    assert load_state(path, {**BELONGS_TO, "epochs": 9})[1] == HISTORY
    with pytest.raises(ValueError, match=r"state\.safetensors: .* epochs: got 4, expected 3"):
        load_state(path, {**BELONGS_TO, "epochs": 3})


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ({**BELONGS_TO, "lr": 0.1}, "lr: got 0.001, expected 0.1"),
        ({**BELONGS_TO, "decoder_hidden": (16, 25)}, r"decoder_hidden: got \[16, 24\], expected \[16, 25\]"),
        ({**BELONGS_TO, "alpha": 1.0}, "alpha: got None, expected 1.0"),
        ({key: value for key, value in BELONGS_TO.items() if key != "seed"}, "seed: got 0, expected None"),
    ],
)
def test_a_training_state_that_belongs_to_something_else_is_refused_by_name(
    ours: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_state(tmp_path / "state.safetensors", TENSORS, BELONGS_TO, HISTORY)
    with pytest.raises(ValueError, match=f"checkpoint of another configuration: {message}"):
        load_state(tmp_path / "state.safetensors", ours)


@pytest.mark.parametrize("read", [read_history, lambda path: load_state(path, BELONGS_TO)])
def test_a_model_file_is_no_training_state(read: Any, tiny_model: ModelConfig, tmp_path: Path) -> None:
    save_model(tmp_path / "file.safetensors", CapsNet(tiny_model), {})
    with pytest.raises(ValueError, match="got 'model', expected a capsnet training state"):
        read(tmp_path / "file.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"belongs_to": [1]}, r"belongs_to: got \[1\], expected a configuration"),
        ({"history": {}}, "history: got {}, expected one row for each epoch"),
        ({"history": [1]}, r"history: got \[1\], expected one row for each epoch"),
    ],
)
def test_a_damaged_training_state_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    header = {"kind": STATE, "belongs_to": BELONGS_TO, "history": HISTORY} | change
    write_tensors(path, TENSORS, header)
    with pytest.raises(ValueError, match=rf"state\.safetensors: {said}"):
        load_state(path, BELONGS_TO)


def test_a_flipped_bit_of_a_training_state_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, TENSORS, BELONGS_TO, HISTORY)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.safetensors: damaged"):
        load_state(path, BELONGS_TO)


def test_a_full_disk_leaves_the_previous_state_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, TENSORS, BELONGS_TO, HISTORY)
    before = path.read_bytes()
    fill_disk(monkeypatch)
    with pytest.raises(OSError, match="No space left on device"):
        save_state(path, TENSORS, BELONGS_TO, [*HISTORY, *HISTORY])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
