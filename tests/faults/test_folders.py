"""Some of the faults of folders in `make faults`: a disk that is full, and one that is read-only."""

from pathlib import Path

import pytest

from tests.faults.folders import folders

pytestmark = pytest.mark.slow


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    rows = {row.fault: row.lost for row in folders(tmp_path, ("models",))}
    assert rows == dict.fromkeys(rows, "nothing")
