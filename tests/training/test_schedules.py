"""How the learning rate and the weight of the reconstruction change over a training."""

from dataclasses import replace
from pathlib import Path

import pytest
from trainings import Data

from capsnet.networks.capsnet import ModelConfig
from capsnet.training.loop import train
from capsnet.training.schedules import ALPHA_SCHEDULES, learning_rate
from capsnet.training.training_config import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        ("constant", 1, 0.5),
        ("constant", 100, 0.5),
        ("tanh_delayed", 8, 0.5 * 0.013611),  # (tanh(1 - pi) + 1) / 2
        ("tanh_delayed", 1000, 0.5),
        ("tanh", 16, 0.5 * 0.761594),  # tanh(1)
        ("tanh", 1, 0.5 * 0.062419),  # tanh(1/16)
        ("tanh", 1000, 0.5),
    ],
)
def test_alpha_schedules_give_the_numbers_worked_by_hand(schedule: str, epoch: int, expected: float) -> None:
    assert ALPHA_SCHEDULES[schedule](0.5, epoch) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("schedule", ALPHA_SCHEDULES)
def test_every_alpha_schedule_rises_to_alpha(schedule: str) -> None:
    values = [ALPHA_SCHEDULES[schedule](0.5, epoch) for epoch in range(1, 200)]
    assert values == sorted(values)
    assert values[0] > 0
    assert values[-1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("floor", "step", "expected"),
    [
        (1e-6, 0, 1e-3),
        (1e-6, 1000, 1e-3 * 0.9797959),  # the square root of 0.96
        (1e-6, 2000, 0.96e-3),
        (1e-6, 4000, 0.9216e-3),
        (1e-6, 10**6, 1e-6),
        (0.0, 10**6, 1.3672e-12),
        (0.5, 0, 1e-3),  # a floor above the start raises nothing
        (0.5, 2000, 1e-3),
    ],
)
def test_learning_rate_decays_continuously_down_to_the_floor(
    floor: float, step: int, expected: float, tiny_training: TrainingConfig
) -> None:
    config = replace(tiny_training, lr=1e-3, lr_decay=0.96, lr_decay_steps=2000, lr_floor=floor)
    assert learning_rate(config, step, 500) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("step", "expected"), [(0, 5e-4), (99, 5e-4), (100, 4.85e-4), (299, 4.70e-4), (10**5, 5e-5)])
def test_learning_rate_decays_after_each_epoch_down_to_the_floor(
    step: int, expected: float, tiny_training: TrainingConfig
) -> None:
    config = replace(tiny_training, lr=5e-4, lr_schedule="epochs", lr_decay=0.97, lr_floor=5e-5)
    assert learning_rate(config, step, 100) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.04), (150, 0.52), (300, 1.0), (650, 0.5), (999, 5e-6)],  # half of the way up, and half of the way down
)
def test_one_cycle_rises_for_three_tenths_and_falls_to_nothing(
    step: int, expected: float, tiny_training: TrainingConfig
) -> None:
    config = replace(tiny_training, lr=1.0, lr_schedule="one_cycle", epochs=10)
    assert learning_rate(config, step, 100) == pytest.approx(expected, rel=0.01)


def test_a_cycle_that_was_finished_is_not_gone_on_with(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    config = replace(tiny_training, lr_schedule="one_cycle")
    state = tmp_path / "state.safetensors"
    train(tiny_model, config, *tiny_data, seed=0, checkpoint=state)
    with pytest.raises(ValueError, match="lr_schedule: got 'one_cycle of 2 epochs', expected 'one_cycle of 4 epochs'"):
        train(tiny_model, replace(config, epochs=4), *tiny_data, seed=0, resume=state)


def test_history_shows_the_learning_rate_of_the_last_step(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    config = replace(tiny_training, lr_decay=0.5)
    history = train(tiny_model, config, *tiny_data, seed=0).history
    assert [row["lr"] for row in history] == [learning_rate(config, 3, 4), learning_rate(config, 7, 4)]
