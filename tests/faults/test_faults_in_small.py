"""A small part of `make faults`; test_store_faults.py has another one."""

import signal
from pathlib import Path

import pytest

from tests.faults.damages import damaged_inputs
from tests.faults.growth import growth
from tests.faults.kills import kills

pytestmark = pytest.mark.slow


def test_kills_cost_nothing(tmp_path: Path) -> None:
    assert kills(tmp_path, 3, signal.SIGKILL).lost == "nothing"


def test_damaged_inputs_are_refused_in_one_line(tmp_path: Path) -> None:
    rows = [*damaged_inputs(tmp_path, 1400, seed=1)]
    assert {row.fault: row.lost for row in rows} == {row.fault: "nothing" for row in rows}


def test_a_long_training_grows_by_nothing(tmp_path: Path) -> None:
    assert growth(tmp_path, 60).lost == "nothing"
