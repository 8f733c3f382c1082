"""What happens to the record of a training when its store is killed, locked, deleted, full or silent: nothing is lost.

`store_faults.FAULTS` does it to real processes, and `make faults` tries all of them; the quickest are tried here.
test_lost_store.py has the same in small.
"""

import pytest
from store_faults import FAULTS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["the database was half made by MLflow", "the database is read-only"])
def test_a_fault_of_the_store_costs_nothing(name: str) -> None:
    happened, lost = FAULTS[name](1)
    assert lost == "nothing", happened
