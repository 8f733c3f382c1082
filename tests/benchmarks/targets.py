"""What the measurements are held to, on the two MNIST networks and on routing alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.benchmarks.cases import LOWER_SAME

CASE = "mnist"
FASTER = {"float32": {"bmm": 2.0, "broadcast": 4.0}, "bfloat16": {"bmm": 3.0, "broadcast": 6.0}}
PEAK_MB = 600.0
PEAK_SHARE = 0.5  # of what bmm takes
ATTENTION = {"images_per_second": 600.0, "peak_mb": 400.0}  # float32, of the network with self-attention routing
ROUTING_MB = 250.0  # of 9216 lower capsules, whose votes alone would be 755 MB


class Target(NamedTuple):
    """One target and what was measured."""

    what: str
    measured: float
    limit: float
    met: bool

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{'met    ' if self.met else 'NOT MET'}  {self.what}: {self.measured:.4g}, target {self.limit:.4g}"


def targets(steps: Sequence[Mapping[str, object]], routing: Sequence[Mapping[str, object]]) -> Iterator[Target]:
    """Yield the targets that the rows of steps.csv and routing.csv tell about."""
    rows = {str(row["implementation"]): row for row in steps if row["case"] == CASE}
    for precision, limits in FASTER.items():
        if precision not in rows:  # this hardware does not compute it
            continue
        for plain, limit in limits.items():
            measured = _number(rows[precision], f"times_{plain}")
            yield _target(f"{precision}, times faster than {plain}, at least", measured, limit, float.__ge__)
        peak, of_bmm = (_number(rows[name], "peak_mb") for name in (precision, "bmm"))
        yield _target(f"{precision}, peak memory in MB, at most", peak, PEAK_MB, float.__le__)
        yield _target(f"{precision}, peak memory as a share of bmm's, at most", peak / of_bmm, PEAK_SHARE, float.__le__)
    for row in steps:
        if (row["case"], row["implementation"]) == ("attention", "float32"):
            speed, peak = (_number(row, key) for key in ATTENTION)
            yield _target("self-attention, images/s, at least", speed, ATTENTION["images_per_second"], float.__ge__)
            yield _target("self-attention, peak memory in MB, below", peak, ATTENTION["peak_mb"], float.__lt__)
    for row in routing:
        if row["lower_capsules"] == LOWER_SAME:
            what = f"{row['implementation']} routing of {LOWER_SAME} capsules, memory in MB, below"
            yield _target(what, _number(row, "peak_mb"), ROUTING_MB, float.__lt__)


def _target(what: str, measured: float, limit: float, holds: Callable[[float, float], bool]) -> Target:
    return Target(what, measured, limit, holds(measured, limit))


def _number(row: Mapping[str, object], key: str) -> float:
    return float(str(row[key]))
