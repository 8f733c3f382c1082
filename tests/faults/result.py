"""What a family of faults returns."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A row of reports/faults.csv."""

    fault: str
    times: int
    happened: str
    lost: str  # "nothing", or what
    test: str
