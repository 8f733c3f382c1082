"""What is told before a training and after an evaluation that cannot come to much."""

import pytest
from tiny_project import TINY

from pipeline.runtime.advice import ENOUGH, FEW, after_evaluation, before_training, recipe
from pipeline.settings.reading import validate
from pipeline.settings.runs import DynamicRun


def run(**changes: object) -> DynamicRun:
    return validate(DynamicRun, TINY | {"validation": 0.0} | changes, "a test")


def test_few_steps_and_batches_larger_than_the_data_are_told_with_what_would_do() -> None:
    told = before_training(run(batch_size=128, epochs=25), 36)
    assert told == (
        "36 images to train on are fewer than a batch of 128, and 25 steps are few to learn in; for so many images try "
        "batch_size 8 and epochs 120"
    )
    assert before_training(run(batch_size=16, epochs=2), 48) == (
        "6 steps are few to learn in; for so many images try batch_size 8 and epochs 100"
    )
    assert before_training(run(batch_size=64, epochs=400), 36).startswith(
        "36 images to train on are fewer than a batch"
    )


def test_enough_steps_are_no_matter_and_images_held_out_do_not_count() -> None:
    assert before_training(run(batch_size=8, epochs=60), 40) == ""
    assert before_training(run(batch_size=8, epochs=60, validation=0.1), 40) == ""
    assert before_training(run(batch_size=8, epochs=60, validation=0.5), 40).startswith("180 steps are few")


@pytest.mark.parametrize("images", [2, 9, 36, 150, 199, 200, 400, 999, 1000, 5000, 60000])
def test_a_recipe_makes_enough_steps_of_batches_that_fit_and_needs_no_advice(images: int) -> None:
    batch_size, epochs, steps = recipe(images)
    assert steps == epochs * -(-images // batch_size)
    assert batch_size <= 32
    assert epochs >= 10
    assert steps >= ENOUGH > FEW
    assert steps < 1.5 * ENOUGH or epochs == 10
    if images >= batch_size:
        assert before_training(run(batch_size=batch_size, epochs=epochs), images) == ""


def confusion(*rows: list[int], seeds: int = 2) -> list[dict[str, int]]:
    return [
        {"seed": seed, "actual": actual, "predicted": predicted, "count": count}
        for seed in range(seeds)
        for actual, counts in enumerate(rows)
        for predicted, count in enumerate(counts)
    ]


def test_a_run_that_is_no_better_than_the_largest_class_is_told_of() -> None:
    always = confusion([4, 0, 0], [5, 0, 0], [4, 0, 0])
    assert after_evaluation({"accuracy_mean": 100 * 4 / 13}, always) == (
        "30.77 % right is no better than always saying the largest class, which has 38.46 % of the 13 test images"
    )
    assert after_evaluation({"accuracy_mean": 100 * 5 / 13}, always)
    assert after_evaluation({"accuracy_mean": 100 * 5.5 / 13}, always) == ""
    assert after_evaluation({"accuracy_mean": 1.0, "pairs": {}}, always) == ""
