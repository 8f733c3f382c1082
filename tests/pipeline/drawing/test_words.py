"""Findings in words."""

import pytest

from pipeline.drawing.words import Stretch, counted, listed, signed, stretches


def test_equal_values_after_each_other_are_a_stretch_round_the_circle() -> None:
    assert stretches([2, 2, 3, 3, 3, 7, 2]) == [Stretch(2, 6, 1), Stretch(3, 2, 4), Stretch(7, 5, 5)]
    assert stretches([2, 3]) == [Stretch(2, 0, 0), Stretch(3, 1, 1)]
    assert stretches([4, 4, 4]) == [Stretch(4, 0, 2)]


@pytest.mark.parametrize(
    ("words", "sentence"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_joined_as_in_a_sentence(words: list[str], sentence: str) -> None:
    assert listed(words) == sentence


def test_a_signed_number_has_a_minus_in_place_of_a_hyphen() -> None:
    assert [signed(value, 1) for value in (-0.25, 3.0)] == ["−0.2", "+3.0"]
    assert [signed(value) for value in (-0.25, float("nan"))] == ["−0.25", "unknown"]


@pytest.mark.parametrize(("number", "words"), [(0, "0 seeds"), (1, "1 seed"), (2, "2 seeds"), (1234, "1,234 seeds")])
def test_one_is_singular(number: int, words: str) -> None:
    assert counted(number, "seed") == words
