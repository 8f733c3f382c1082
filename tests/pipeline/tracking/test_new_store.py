"""A new store is there as a whole or not at all, and one that MLflow left half made is set aside."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from stored import select

from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.new_store import HALF_MADE, make_store, set_half_made_aside

TAGS = {"kind": "run"}


@pytest.fixture(autouse=True)
def _new_stores_are_copies() -> None:
    """Here each new store is really made."""


def write(file: Path, *statements: str) -> Path:
    """Write a database that nobody has changed for a while."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    os.utime(file, (0, 0))
    return file


HALF = ("create table experiments (id integer)", "create table _alembic_tmp_experiments (id integer)")
MADE = ("create table experiments (id integer)", "create table runs (id integer)", "insert into experiments values (0)")
UPGRADED = ("create table _alembic_tmp_experiments (id integer)", "create table runs (id integer)")


def test_a_store_that_mlflow_left_half_made_is_set_aside_and_a_new_one_records(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        write(Path("mlflow.db"), *HALF)
        with record_run("test", "x", tags=TAGS):
            pass
        assert select(Path("mlflow.db"), "select name, status from runs") == [("x", "FINISHED")]
        name = "mlflow.db" + HALF_MADE + "+" * (number - 1)
        assert capsys.readouterr().err == (
            f"MLflow: {project}/mlflow.db was half made, and holds no run; it is now {name}\n"
        )
        assert len(select(Path(name), "select * from sqlite_master")) == 2
        Path("mlflow.db").unlink()


@pytest.mark.parametrize("statements", [MADE, (*UPGRADED, "insert into runs values (1)"), ()])
def test_a_store_with_a_run_or_an_experiment_and_an_empty_file_stay(
    statements: tuple[str, ...], tmp_path: Path
) -> None:
    assert set_half_made_aside(write(tmp_path / "mlflow.db", *statements)) is None


def test_a_store_that_another_process_may_be_making_stays(tmp_path: Path) -> None:
    file = write(tmp_path / "mlflow.db", *HALF)
    os.utime(file)
    assert set_half_made_aside(file) is None
    assert set_half_made_aside(tmp_path / "none.db") is None


def test_a_disk_that_is_full_while_a_store_is_made_leaves_nothing_and_the_next_try_makes_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    initialise = SqlAlchemyStore._initialize_store_state

    def full(self: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(SqlAlchemyStore, "_initialize_store_state", full)
    before = sorted(project.iterdir())
    with pytest.raises(sqlite3.OperationalError):
        make_store(project / "mlflow.db")
    assert sorted(project.iterdir()) == before
    monkeypatch.setattr(SqlAlchemyStore, "_initialize_store_state", initialise)
    (project / "mlflow.db.new").write_text("a process was killed here")
    make_store(project / "mlflow.db")
    assert select(project / "mlflow.db", "select name from experiments") == [("Default",)]
    assert sorted(project.iterdir()) == sorted([*before, project / "mlflow.db"])


def test_an_empty_file_becomes_a_store(project: Path) -> None:
    """A connection to a file that was deleted makes an empty one."""
    Path("mlflow.db").touch()
    with record_run("test", "x", tags=TAGS):
        pass
    assert select(Path("mlflow.db"), "select name from runs") == [("x",)]
