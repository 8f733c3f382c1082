"""Seeds trained side by side: each is what it would be alone, wherever it starts, and tells its own listener."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from trainings import Data, assert_same_training, killed_after

from capsnet.networks.capsnet import ModelConfig
from capsnet.training.loop import Course, measured, train, train_side_by_side
from capsnet.training.step import PRECISIONS
from capsnet.training.training_config import TrainingConfig

SEEDS = (0, 1, 5)

pytestmark = pytest.mark.usefixtures("one_thread")


def noting(epochs: list[int]) -> Callable[[int, Mapping[str, float]], None]:
    return lambda epoch, values: epochs.append(epoch)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_seeds_side_by_side_are_equal_to_the_byte_to_each_alone(
    precision: str, normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    config = replace(eventful, precision=precision)
    together = train_side_by_side(normalised, config, *tiny_data, [Course(seed) for seed in SEEDS])
    assert len(together) == len(SEEDS)
    for seed, trained in zip(SEEDS, together, strict=True):
        assert_same_training(tmp_path, trained, train(normalised, config, *tiny_data, seed=seed))


def test_seeds_that_start_from_states_of_different_epochs_end_as_if_nothing_had_stopped_them(
    normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    done = {0: 3, 1: 0, 5: 1, 6: 5}
    courses, told = [], {}
    for seed, epochs in done.items():
        state = tmp_path / f"{seed}.safetensors"
        if epochs:
            train(normalised, replace(eventful, epochs=epochs), *tiny_data, seed=seed, checkpoint=state)
        told[seed] = list[int]()
        courses.append(Course(seed, checkpoint=state, resume=state if epochs else None, log=noting(told[seed])))
    together = train_side_by_side(normalised, eventful, *tiny_data, courses)
    for seed, trained in zip(done, together, strict=True):
        assert_same_training(tmp_path, trained, train(normalised, eventful, *tiny_data, seed=seed))
    assert told == {seed: list(range(epochs + 1, 6)) for seed, epochs in done.items()}


def test_seeds_killed_together_go_on_to_the_same_bytes(
    normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    """The second seed is killed after its state of epoch 3 is written, when the third seed has that of epoch 2."""
    states = {seed: tmp_path / f"{seed}.safetensors" for seed in SEEDS}
    killed = [Course(seed, checkpoint=state) for seed, state in states.items()]
    killed[1] = replace(killed[1], log=killed_after(3))
    with pytest.raises(KeyboardInterrupt):
        train_side_by_side(normalised, eventful, *tiny_data, killed)
    told: dict[int, list[int]] = {seed: [] for seed in SEEDS}
    courses = [Course(seed, state, state, noting(told[seed])) for seed, state in states.items()]
    resumed = train_side_by_side(normalised, eventful, *tiny_data, courses)
    assert told == {0: [4, 5], 1: [4, 5], 5: [3, 4, 5]}
    for seed, trained in zip(SEEDS, resumed, strict=True):
        assert_same_training(tmp_path, trained, train(normalised, eventful, *tiny_data, seed=seed))


def test_each_course_is_told_of_its_own_epochs_with_its_own_values(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    told: list[tuple[int, int, dict[str, float]]] = []

    def listener(seed: int) -> Callable[[int, Mapping[str, float]], None]:
        return lambda epoch, values: told.append((seed, epoch, dict(values)))

    courses = [Course(seed, log=listener(seed)) for seed in SEEDS]
    together = train_side_by_side(tiny_model, tiny_training, *tiny_data, courses)
    assert [(seed, epoch) for seed, epoch, _ in told] == [(seed, epoch) for epoch in (1, 2) for seed in SEEDS]
    histories = dict(zip(SEEDS, (trained.history for trained in together), strict=True))
    for seed, epoch, values in told:
        assert values.pop("images_per_second") > 0
        assert values == measured(histories[seed][epoch - 1])


def test_a_loss_that_is_not_finite_names_the_state_of_its_own_seed(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    growing = replace(tiny_training, lr=1e-11, lr_decay=1e4, lr_decay_steps=1)
    courses = [Course(seed, checkpoint=tmp_path / f"{seed}.safetensors") for seed in SEEDS]
    with pytest.raises(FloatingPointError, match=r"epoch 2.* last good checkpoint: .*/0\.safetensors"):
        train_side_by_side(tiny_model, growing, *tiny_data, courses)
