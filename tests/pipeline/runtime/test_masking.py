"""Logins are taken out of messages."""

import pytest

from pipeline.runtime.masking import LOGINS, first_line, masked

STORAGE = "CAPSNET_OPTUNA_STORAGE"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://otto:secret@h:5432/db", "postgresql://***@h:5432/db"),
        ("no server at http://otto@h/x, nor at http://h2/y", "no server at http://***@h/x, nor at http://h2/y"),
        ("mysql://h/db?user=otto&password=secret&charset=utf8", "mysql://h/db?user=***&password=***&charset=utf8"),
        ("ftp://otto:p@ss/w:rd@h", "ftp://***@h"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("write to me@example.org", "write to me@example.org"),
    ],
)
def test_logins_are_taken_out_of_a_text(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_logins_of_the_environment_are_taken_out_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORAGE, "postgresql://otto:pa%40ss@h/db")
    monkeypatch.setenv(LOGINS[1], "swordfish")
    said = 'FATAL: password authentication failed for user "otto" (pa@ss, pa%40ss, swordfish), not for ottos\nmore'
    expected = 'FATAL: password authentication failed for user "***" (***, ***, ***), not for ottos'
    assert first_line(ValueError(said)) == expected


def test_an_error_without_words_is_named_by_its_kind() -> None:
    assert first_line(KeyError()) == "KeyError"
