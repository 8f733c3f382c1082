"""The tables of params.yaml: which runs are their rows, and what stands beside them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from pipeline.settings.checked import Checked, Name, Names

Degrees = Annotated[int, Field(ge=0, lt=360)]
# They decide where and how fast a run is trained, and which table it is in: no factor of a result.
NO_FACTORS = {"study", "device", "threads", "checkpoint_every"}


class Published(Checked):
    """Published values beside a run of ours, those that there are; accuracies in percent.

    That of an `ensemble` stands beside all seeds of the run as one, not beside single networks; `ensemble_accuracy` is
    for runs about which both are published.
    """

    rloss: float | None = None
    mloss: float | None = None
    accuracy: float
    source: str
    ensemble: bool = False
    ensemble_accuracy: float | None = None


class PublishedRow(Checked):
    """A published accuracy, in percent, without a run of ours."""

    model: str
    dataset: Name
    accuracy: float
    source: str


class TableEntry(Checked):
    """A table: reports/<study>/tables/<kind>.csv, .md and .tex.

    Rows are in the order of `runs`; a tuned run is called <name of the search>-tuned.
    """

    study: Name
    title: str
    runs: Names


class Decoders(TableEntry):
    """Losses and accuracies of runs beside the published ones."""

    kind: Literal["decoders"]


class Benchmarks(TableEntry):
    """Accuracies of runs, of all seeds of some as one ensemble, and of others.

    `protocols` say whose training runs follow, ahead of their decoders, where a table compares several.
    """

    kind: Literal["benchmarks"]
    protocols: dict[str, Names]
    ensembles: Names
    published: Annotated[tuple[PublishedRow, ...], Strict(False)]


class Topologies(TableEntry):
    """Runs that differ from the run `base` in one setting each, grouped by it."""

    kind: Literal["topologies"]
    base: Name


class Robustness(TableEntry):
    """Accuracies on rotated test images; people see those at `degrees`, the csv file has every angle."""

    kind: Literal["robustness"]
    degrees: Annotated[tuple[Degrees, ...], Strict(False), Field(min_length=1)]


class Costs(TableEntry):
    """What training the runs took, as far as it is written down in metrics/costs.csv."""

    kind: Literal["costs"]


Table = Annotated[Decoders | Benchmarks | Topologies | Robustness | Costs, Field(discriminator="kind")]
KINDS: dict[str, type[TableEntry]] = {
    "decoders": Decoders,
    "benchmarks": Benchmarks,
    "topologies": Topologies,
    "robustness": Robustness,
    "costs": Costs,
}


def factor(settings: Mapping[str, Any], base: Mapping[str, Any], where: str) -> str:
    """Return the one setting in which a run differs from another. Raises ValueError if it is not one."""
    both = [name for name in base if name in settings and name not in NO_FACTORS]
    names = [name for name in both if settings[name] != base[name]]
    # Scores of an older version know fewer settings; those of another network know others.
    if settings.get("network") != base.get("network"):
        names += sorted(settings.keys() ^ base.keys())
    if len(names) != 1:
        raise ValueError(f"{where}: got {', '.join(names) or 'nothing'} other than in the base, expected one setting")
    return names[0]
