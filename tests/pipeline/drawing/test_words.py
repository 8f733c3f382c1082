"""Findings in words."""

import pytest

from pipeline.drawing.words import Stretch, counted, listed, spans, stretches


def test_equal_values_after_each_other_are_a_stretch_round_the_circle() -> None:
    assert stretches([2, 2, 3, 3, 3, 7, 2]) == [Stretch(2, 6, 1), Stretch(3, 2, 4), Stretch(7, 5, 5)]
    assert stretches([2, 3]) == [Stretch(2, 0, 0), Stretch(3, 1, 1)]
    assert stretches([4, 4, 4]) == [Stretch(4, 0, 2)]


@pytest.mark.parametrize(
    ("words", "sentence"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_joined_as_in_a_sentence(words: list[str], sentence: str) -> None:
    assert listed(words) == sentence


def test_a_stretch_is_told_from_its_first_to_its_last_angle() -> None:
    found = [Stretch(2, 3, 1), Stretch(2, 2, 2), Stretch(2, 3, 0), Stretch(2, 0, 1)]
    told = "from 270° through 0° to 90°, at 180°, from 270° to 0° and from 0° to 90°"
    assert spans(found, range(0, 360, 90)) == told


@pytest.mark.parametrize(("number", "told"), [(0, "0 seeds"), (1, "1 seed"), (2, "2 seeds"), (1234, "1,234 seeds")])
def test_one_is_singular(number: int, told: str) -> None:
    assert counted(number, "seed") == told
