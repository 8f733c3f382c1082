"""Warnings before a training that cannot succeed and after one that did not, and the recipe that does better."""

import pytest
from tiny_project import TINY

from capsnet.training.training_config import TrainingConfig
from pipeline.runtime.advice import FEWEST_STEPS, STEPS, no_better_than_guessing, recipe, too_few_steps
from pipeline.settings.reading import validate
from pipeline.settings.runs import DynamicRun


def training(**changes: object) -> TrainingConfig:
    return validate(DynamicRun, TINY | {"validation": 0.0} | changes, "a test").training()


def test_few_steps_and_batches_larger_than_the_data_are_a_warning_with_better_settings() -> None:
    warning = too_few_steps(training(batch_size=128, epochs=25), 36)
    assert warning == (
        "36 training images are fewer than a batch of 128, and 25 training steps are too few to learn much; "
        "for 36 images try batch_size 8 and epochs 120"
    )
    assert too_few_steps(training(batch_size=16, epochs=2), 48) == (
        "6 training steps are too few to learn much; for 48 images try batch_size 8 and epochs 100"
    )
    assert too_few_steps(training(batch_size=64, epochs=400), 36).startswith(
        "36 training images are fewer than a batch"
    )


def test_enough_steps_are_no_warning_and_images_held_out_do_not_count() -> None:
    assert too_few_steps(training(batch_size=8, epochs=60), 40) == ""
    assert too_few_steps(training(batch_size=8, epochs=60, validation=0.1), 40) == ""
    assert too_few_steps(training(batch_size=8, epochs=60, validation=0.5), 40).startswith(
        "180 training steps are too few"
    )


@pytest.mark.parametrize("images", [2, 9, 36, 150, 199, 200, 400, 999, 1000, 5000, 60000])
def test_a_recipe_makes_enough_steps_of_batches_that_fit_and_needs_no_advice(images: int) -> None:
    batch_size, epochs, steps = recipe(images)
    assert steps == epochs * -(-images // batch_size)
    assert batch_size <= 32
    assert epochs >= 10
    assert steps >= STEPS > FEWEST_STEPS
    assert steps < 1.5 * STEPS or epochs == 10
    if images >= batch_size:
        assert too_few_steps(training(batch_size=batch_size, epochs=epochs), images) == ""


def confusion(*rows: list[int], seeds: int = 2) -> list[dict[str, int]]:
    return [
        {"seed": seed, "actual": actual, "predicted": predicted, "count": count}
        for seed in range(seeds)
        for actual, counts in enumerate(rows)
        for predicted, count in enumerate(counts)
    ]


def test_a_run_that_is_no_better_than_guessing_the_most_frequent_class_is_a_warning() -> None:
    always = confusion([4, 0, 0], [5, 0, 0], [4, 0, 0])
    assert no_better_than_guessing({"accuracy_mean": 100 * 4 / 13}, always) == (
        "an accuracy of 30.77 % is no better than always answering with the most frequent class, which has 38.46 % of "
        "the 13 test images"
    )
    assert no_better_than_guessing({"accuracy_mean": 100 * 5 / 13}, always)
    assert no_better_than_guessing({"accuracy_mean": 100 * 5.5 / 13}, always) == ""
    assert no_better_than_guessing({"accuracy_mean": 1.0, "pairs": {}}, always) == ""
