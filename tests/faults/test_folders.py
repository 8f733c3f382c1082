"""One of the faults of folders in `make faults`: the disk of the models is full."""

from pathlib import Path

import pytest

from tests.faults.folders import folders

pytestmark = pytest.mark.slow


def test_a_full_disk_costs_nothing(tmp_path: Path) -> None:
    rows = {row.fault: row.lost for row in folders(tmp_path, ("models",), ("full",))}
    assert rows == {"models is full": "nothing"}
