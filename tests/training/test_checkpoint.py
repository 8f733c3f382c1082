"""Training states: a killed training goes on to the same bytes, and only as what it was."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from choices import CHOICES
from trainings import Data, assert_same_training, killed_after

from capsnet.networks.capsnet import NETWORKS, ModelConfig
from capsnet.networks.decoders import DECODERS
from capsnet.training.loop import train
from capsnet.training.schedules import learning_rate
from capsnet.training.training_config import TrainingConfig

DECODER = pytest.mark.parametrize("decoder", DECODERS)
BATCH_NORM = pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("every", "kept"), [(1, 3), (2, 2)])
@DECODER
@BATCH_NORM
def test_a_killed_training_goes_on_to_the_same_bytes(
    every: int,
    kept: int,
    decoder: str,
    batch_norm: bool,
    tiny_model: ModelConfig,
    eventful: TrainingConfig,
    tiny_data: Data,
    tmp_path: Path,
) -> None:
    config = replace(tiny_model, decoder=decoder, batch_norm=batch_norm)
    state = tmp_path / "state.safetensors"
    unbroken = train(config, eventful, *tiny_data, seed=5)
    with pytest.raises(KeyboardInterrupt):
        train(config, eventful, *tiny_data, seed=5, checkpoint=state, checkpoint_every=every, log=killed_after(3))
    epochs: list[int] = []
    resumed = train(
        config,
        eventful,
        *tiny_data,
        seed=5,
        checkpoint=state,
        resume=state,
        log=lambda epoch, values: epochs.append(epoch),
    )
    assert epochs == list(range(kept + 1, 6))
    assert_same_training(tmp_path, resumed, unbroken)


def test_a_finished_training_goes_on_when_epochs_grow(
    normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    train(normalised, replace(eventful, epochs=3), *tiny_data, seed=0, checkpoint=state, checkpoint_every=10)
    resumed = train(normalised, eventful, *tiny_data, seed=0, checkpoint=state, resume=state)
    assert_same_training(tmp_path, resumed, train(normalised, eventful, *tiny_data, seed=0))


def test_two_threads_give_the_same_bytes_each_time_and_after_a_resumption(
    normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    torch.set_num_threads(2)
    state = tmp_path / "state.safetensors"
    one, two = (replace(eventful, epochs=epochs, batch_size=16) for epochs in (1, 2))
    unbroken = train(normalised, two, *tiny_data, seed=0)
    assert_same_training(tmp_path, train(normalised, two, *tiny_data, seed=0), unbroken)
    train(normalised, one, *tiny_data, seed=0, checkpoint=state)
    assert_same_training(tmp_path, train(normalised, two, *tiny_data, seed=0, resume=state), unbroken)


def test_a_finished_training_resumed_is_what_it_was(
    normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    finished = train(normalised, eventful, *tiny_data, seed=0, checkpoint=state)
    again = train(normalised, eventful, *tiny_data, seed=0, resume=state)
    assert_same_training(tmp_path, again, finished)


def another(name: str, value: Any) -> Any:
    """Return a value of a setting other than `value`, with which the network can be built."""
    if name in CHOICES:
        return next(key for key in CHOICES[name] if key != value)
    if name == "epochs":
        return value - 1
    if name == "validation":
        return value + 0.25
    if isinstance(value, bool):
        return not value
    if name == "contrast":
        return (0.5, 1.5)
    return (*value, 5) if isinstance(value, tuple) else value + 1


@pytest.mark.parametrize("name", [field.name for config in (ModelConfig, TrainingConfig) for field in fields(config)])
def test_a_state_of_another_configuration_is_refused_by_the_name_of_the_setting(
    name: str, tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    train(tiny_model, tiny_training, *tiny_data, seed=0, checkpoint=state)
    model, config = (
        replace(ours, **{name: another(name, getattr(ours, name))}) if hasattr(ours, name) else ours
        for ours in (tiny_model, tiny_training)
    )
    with pytest.raises(ValueError, match=f"state.safetensors: checkpoint of another configuration: {name}: got "):
        train(model, config, *tiny_data, seed=0, resume=state)


def test_a_state_of_another_seed_is_refused(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    train(tiny_model, tiny_training, *tiny_data, seed=0, checkpoint=state)
    with pytest.raises(ValueError, match="seed: got 0, expected 1"):
        train(tiny_model, tiny_training, *tiny_data, seed=1, resume=state)


@pytest.mark.parametrize(
    ("growing", "expected_step", "expected_epoch", "kept"),
    [({"lr": 1e30}, 1, 1, "none yet"), ({"lr": 1e-11, "lr_decay": 1e4, "lr_decay_steps": 1}, 6, 2, "{state}")],
    ids=["at once", "in epoch 2"],
)
def test_a_loss_that_is_not_finite_names_step_rate_and_checkpoint(
    growing: dict[str, Any],
    expected_step: int,
    expected_epoch: int,
    kept: str,
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
    tmp_path: Path,
) -> None:
    state = tmp_path / "state.safetensors"
    config = replace(tiny_training, **growing)
    with pytest.raises(FloatingPointError) as caught:
        train(tiny_model, config, *tiny_data, seed=0, checkpoint=state)
    assert str(caught.value) == (
        f"loss is not finite at step {expected_step} (epoch {expected_epoch}), learning rate "
        f"{learning_rate(config, expected_step, 4):.3g}; last good checkpoint: {kept.format(state=state)}"
    )


def test_no_setting_of_network_and_training_shares_a_name() -> None:
    """A training state is known by the settings of both in one mapping."""
    course = {field.name for field in fields(TrainingConfig)} | {"network", "seed"}
    for network in NETWORKS.values():
        assert not {field.name for field in fields(network)} & course
