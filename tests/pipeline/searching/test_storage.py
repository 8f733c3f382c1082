"""Optuna's storage: any of them gives the same trials, and one that cannot be used is an error in one line."""

import re
from functools import partial
from pathlib import Path

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from pipeline import tune
from pipeline.runtime.command_line import run_stage
from pipeline.searching.storage import STORAGE, open_storage

RESULTS = Path("reports/toy/tuning/toy")


def results() -> dict[str, bytes]:
    """Return the files of the results; best.yaml without the number of the study, which a repetition counts up."""
    files = {path.name: path.read_bytes() for path in RESULTS.iterdir()}
    return files | {"best.yaml": re.sub(rb"(study: 'toy-\w+)-\d+", rb"\1", files["best.yaml"])}


def study_names() -> set[str]:
    with open_storage(Path("unused")) as storage:
        return set(optuna.get_all_study_names(storage.optuna))


def search_in(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tune.main(["toy"])
    from_journal = results()
    monkeypatch.setenv(STORAGE, storage)
    tune.main(["toy"])
    assert results() == from_journal
    tune.main(["toy"])
    assert results() == from_journal
    assert sorted(name.rpartition("-")[2] for name in study_names()) == ["1", "2"]


@pytest.mark.slow
def test_a_sqlite_storage_gives_the_trials_of_the_journal(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_in(f"sqlite:///{prepared}/optuna.db", monkeypatch)


@pytest.mark.postgres
def test_a_postgresql_storage_gives_the_trials_of_the_journal(
    database: str, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_in(database, monkeypatch)


STORAGES = [
    "sqlite:////no/such/folder/optuna.db",
    "postgresql+psycopg://otto:pa%40ss%2Fword@127.0.0.1:1/optuna?connect_timeout=2",
    "postgresql+nodriver://otto:pa%40ss%2Fword@localhost/optuna",
    "oracle://otto:pa%40ss%2Fword@localhost/optuna",
    "mysql+pymysql://localhost/optuna?user=otto&password=pa%40ss%2Fword",
    "nonsense",
    "redis://localhost:6379",
]


@pytest.mark.parametrize("url", STORAGES)
def test_a_storage_that_cannot_be_used_ends_in_one_line_without_a_login(
    url: str, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(STORAGE, url)
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(tune.main, ["toy"]))
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(said.splitlines()) == 1, said
    assert said.startswith(f"error: {STORAGE}: {url.partition(':')[0]}")
    assert not [secret for secret in ("otto", "pa%40ss%2Fword", "pa@ss/word") if secret in said], said


def test_a_storage_that_fails_in_the_middle_of_a_search_ends_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE, f"sqlite:///{project}/optuna.db")
    with (
        pytest.raises(
            ValueError, match=r"optuna\.db failed: .*has gone.*; the same command continues once it works again"
        ),
        open_storage(project / "journal.log"),
    ):
        raise OperationalError("select 1", {}, Exception("the server has gone"))
