"""Two generations of training states: a damaged one is set aside, and the training ends with the same bytes."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trainings import Data, assert_same_training

from capsnet.networks.capsnet import ModelConfig
from capsnet.tensors import CHECKSUM, write_tensors
from capsnet.training.checkpoint import STATE, load_state, newest_whole_state, previous_state, read_history, save_state
from capsnet.training.loop import train
from capsnet.training.training_config import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def flip(content: bytes, where: int) -> bytes:
    changed = bytearray(content)
    changed[where] ^= 4
    return bytes(changed)


def in_history(content: bytes) -> bytes:
    """Change a digit of the learning curve."""
    where = content.index(b"train_accuracy") + len('train_accuracy\\": ')
    return content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "a bit of its length": lambda content: flip(content, 1),
    "a bit of its header": lambda content: flip(content, 20),
    "a bit of a tensor": lambda content: flip(content, len(content) - 3),
    "a digit of the history": in_history,
    "the name of the checksum": lambda content: content.replace(CHECKSUM.encode(), b"sha257"),
}


def trained_to(epochs: int, path: Path, model: ModelConfig, config: TrainingConfig, data: Data) -> None:
    train(model, replace(config, epochs=epochs), *data, seed=0, checkpoint=path)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("generations", [1, 2])
def test_a_damaged_state_is_set_aside_and_the_result_is_the_same(
    generations: int,
    damage: Callable[[bytes], bytes],
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.safetensors"
    trained_to(3, path, tiny_model, tiny_training, tiny_data)
    for state in (path, previous_state(path))[:generations]:
        content = state.read_bytes()
        state.unlink()  # both names may be of one file
        state.write_bytes(damage(content))
    said: list[str] = []
    start = newest_whole_state(path, said.append)
    assert [f"{path.name}" in line and "set aside" in line for line in said] == [True] * generations
    assert start == (previous_state(path) if generations == 1 else None)
    assert len(list(tmp_path.glob("*.damaged"))) == generations
    whole = replace(tiny_training, epochs=4)
    resumed = train(tiny_model, whole, *tiny_data, seed=0, checkpoint=path, resume=start)
    assert_same_training(tmp_path, resumed, train(tiny_model, whole, *tiny_data, seed=0))
    assert newest_whole_state(path, pytest.fail) == path


def test_of_several_processes_only_one_renames(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    trained_to(2, path, tiny_model, tiny_training, tiny_data)
    path.unlink()
    path.touch()
    assert newest_whole_state(path, None) == previous_state(path)
    assert path.exists()


def test_the_previous_state_is_an_epoch_behind_and_there_are_no_more(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    trained_to(4, path, tiny_model, tiny_training, tiny_data)
    assert [len(read_history(each)) for each in (path, previous_state(path))] == [4, 3]
    assert sorted(tmp_path.iterdir()) == [path, previous_state(path)]


def test_a_disk_without_links_keeps_two_generations_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError("no links here")

    path = tmp_path / "state.safetensors"
    monkeypatch.setattr(os, "link", refuse)
    for epoch in (1, 2):
        save_state(path, {"w": torch.tensor(1.0)}, {"seed": 0}, [{"epoch": each} for each in range(epoch)])
    assert [len(read_history(each)) for each in (path, previous_state(path))] == [2, 1]


def test_a_state_without_a_checksum_is_accepted(tmp_path: Path) -> None:
    """States of earlier versions have none; trainings that go on with them take weeks."""
    path = tmp_path / "state.safetensors"
    write_tensors(path, {"w": torch.tensor(1.0)}, {"kind": STATE, "belongs_to": {"seed": 0}, "history": []})
    content = path.read_bytes()
    start = content.index(b', \\"' + CHECKSUM.encode())
    header = content[: content.index(b"}", start)]
    without = content[:start] + b" " * (len(header) - start) + content[len(header) :]
    path.write_bytes(without)
    assert CHECKSUM.encode() not in without
    assert newest_whole_state(path, pytest.fail) == path
    assert load_state(path, {"seed": 0})[1] == []


def test_a_training_that_is_told_to_stop_writes_its_state_first_and_goes_on_from_there(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    config = replace(tiny_training, epochs=5)
    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt, match="stopped after epoch 3"):
        train_stoppable(tiny_model, config, tiny_data, path, lambda: next(asked))
    assert len(read_history(path)) == 3, "between two checkpoints"
    resumed = train(tiny_model, config, *tiny_data, seed=0, checkpoint=path, resume=path)
    assert_same_training(tmp_path, resumed, train(tiny_model, config, *tiny_data, seed=0))


def train_stoppable(
    model: ModelConfig, config: TrainingConfig, data: Data, path: Path, stop: Callable[[], bool]
) -> None:
    from capsnet.training.loop import Course, train_side_by_side

    train_side_by_side(model, config, *data, [Course(0, checkpoint=path)], checkpoint_every=10, stop=stop)
