"""The tables in params.yaml: the runs that are their rows, and published values."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from pipeline.settings.checked import Checked, Name, Names

Degrees = Annotated[int, Field(ge=0, lt=360)]
# Settings of a run that no result depends on: where and how fast it is trained, and which study it belongs to.
NO_FACTORS = {"study", "device", "threads", "checkpoint_every"}


class PublishedValues(Checked):
    """What others report for a run. Accuracies are in percent.

    With `ensemble` the accuracy is that of an ensemble, and is compared with all seeds of the run together.
    `ensemble_accuracy` is for runs with two published accuracies: that of a single network and that of an ensemble.
    """

    rloss: float | None = None
    mloss: float | None = None
    accuracy: float
    source: str
    ensemble: bool = False
    ensemble_accuracy: float | None = None


class PublishedRow(Checked):
    """A published accuracy in percent, without a run of this project."""

    model: str
    dataset: Name
    accuracy: float
    source: str


class TableEntry(Checked):
    """A table: reports/<study>/tables/<kind>.csv, .md and .tex."""

    study: Name
    title: str

    def run_names(self) -> tuple[str, ...]:
        """Return the names of the runs that the entry lists. A tuned run is called <search>-tuned."""
        return ()


class Listed(TableEntry):
    """A table with one row for each run, in the order of `runs`."""

    runs: Names

    def run_names(self) -> tuple[str, ...]:
        """Return the names of the runs that the entry lists."""
        return self.runs


class Decoders(Listed):
    """Losses and accuracies of runs beside the published ones."""

    kind: Literal["decoders"]


class BenchmarkRow(Checked):
    """A run among the benchmarks.

    `protocol` says whose training it follows. `ensemble` adds a row for all its seeds together.
    """

    run: Name
    protocol: str = ""
    ensemble: bool = False


class Benchmarks(TableEntry):
    """Accuracies of single networks, then of ensembles, then of others' networks; each part in the order given."""

    kind: Literal["benchmarks"]
    runs: Annotated[tuple[BenchmarkRow, ...], Strict(False)]
    published: Annotated[tuple[PublishedRow, ...], Strict(False)]

    def run_names(self) -> tuple[str, ...]:
        """Return the names of the runs that the entry lists."""
        return tuple(row.run for row in self.runs)

    @property
    def ensembles(self) -> tuple[str, ...]:
        """The runs that have a row for all their seeds together."""
        return tuple(row.run for row in self.runs if row.ensemble)


class Topologies(Listed):
    """Runs that differ from the run `base` in one setting each, grouped by that setting."""

    kind: Literal["topologies"]
    base: Name

    def run_names(self) -> tuple[str, ...]:
        """Return the names of the runs that the entry lists, the base first."""
        return (self.base, *self.runs)


class Robustness(Listed):
    """Accuracies on rotated test images. The csv file has every angle, the other files those of `degrees`."""

    kind: Literal["robustness"]
    degrees: Annotated[tuple[Degrees, ...], Strict(False), Field(min_length=1)]


class Costs(TableEntry):
    """Time and memory of trainings, for every run of the study in metrics/costs.csv."""

    kind: Literal["costs"]


AnyTable = Annotated[Decoders | Benchmarks | Topologies | Robustness | Costs, Field(discriminator="kind")]
KINDS: dict[str, type[TableEntry]] = {
    "decoders": Decoders,
    "benchmarks": Benchmarks,
    "topologies": Topologies,
    "robustness": Robustness,
    "costs": Costs,
}


def factor(settings: Mapping[str, Any], base: Mapping[str, Any], where: str) -> str:
    """Return the one setting in which a run differs from another. Raises ValueError if there are none or several."""
    both = [name for name in base if name in settings and name not in NO_FACTORS]
    names = [name for name in both if settings[name] != base[name]]
    # Scores of an older version lack some settings, which are not compared. Another network has other settings.
    if settings.get("network") != base.get("network"):
        names += sorted(settings.keys() ^ base.keys())
    if len(names) != 1:
        raise ValueError(f"{where}: got {', '.join(names) or 'nothing'} other than in the base, expected one setting")
    return names[0]
