"""Rules between the sections of params.yaml: names must exist, and entries must fit what they name.

Most rules have one form: the value at some place must be one of certain others. `references` lists them.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.runtime.paths import PRIMARY, TUNED
from pipeline.settings.checked import MadeOfRuns, require
from pipeline.settings.sections import Sections
from pipeline.settings.sizes import check_sizes
from pipeline.settings.tables import Benchmarks, Decoders, Robustness, Topologies, factor

Reference = tuple[str, object, Collection[object]]  # where a value stands, the value, and what it must be one of


class Uses(NamedTuple):
    """A section of params.yaml whose entries name runs."""

    section: str
    key: str = ""  # the key in an entry that names runs; empty if the entry has the name of its run
    task: str = ""  # the task that the runs must have; empty for any
    tuned: bool = False  # whether tuned runs may be named


USES = (
    Uses("tune", key="run"),
    Uses("figures", key="run", task="classify"),
    Uses("compare", key="runs", task="classify"),
    Uses("pairs", task="separate"),
    Uses("robustness", task="classify", tuned=True),
    Uses("published_weights", key="run", tuned=True),
)
# Each writes reports/<study>/figures/<name>/.
DRAWN = ("figures", "compare", "pairs")
# Ends of names that stages give to folders in models/.
TAKEN = {TUNED: "train-tuned", PRIMARY: "decode"}


def check_references(params: Sections) -> None:
    """Raise ValueError for the first name that does not exist, or entry that does not fit."""
    for name in params.runs:
        for end, stage in TAKEN.items():
            if name.endswith(end):
                raise ValueError(f"runs: got {name!r}, expected no name that ends in {end}, as those of {stage} do")
    # One at a time, because a rule may look up what an earlier one has checked.
    for where, value, known in references(params):
        require(value, known, where)
    for name, run in params.runs.items():
        check_sizes(run, params.datasets[run.dataset], f"runs.{name}.")
    _check_folders(params)
    _check_searches(params)
    _check_comparisons(params)


def references(params: Sections) -> Iterator[Reference]:
    """Yield every value that must be one of others. Values on which later rules rely come first."""
    for name, run in params.runs.items():
        yield f"runs.{name}.dataset", run.dataset, params.datasets
        yield f"runs.{name}.study", run.study, params.studies
    for uses in USES:
        for name, entry in getattr(params, uses.section).items():
            yield from _of_entry(uses, name, entry, params)
    for name, figures in params.figures.items():
        yield f"figures.{name}", name, [figures.dataset]
        yield f"robustness, for figures.{name}", figures.run, params.robustness
    for name, weights in params.published_weights.items():
        yield f"published_weights.{name}", name, [weights.run, f"{weights.run}-seed-{weights.seed}"]
    for name, study in params.studies.items():
        for kind in study.tables:
            yield f"studies.{name}.tables", f"{name}-{kind}", params.tables
    for name in params.tables:
        yield from _of_table(name, params)
    ensembles = [run for table in params.tables.values() if isinstance(table, Benchmarks) for run in table.ensembles]
    for name, published in params.published.items():
        together = published.ensemble or published.ensemble_accuracy is not None
        yield f"published.{name}", name, ensembles if together else params.studies_of_runs


def _of_entry(uses: Uses, name: str, entry: MadeOfRuns, params: Sections) -> Iterator[Reference]:
    """Yield the rules for an entry that names runs: they exist, and have its study and data set, and the task."""
    where = f"{uses.section}.{name}"
    named: Any = getattr(entry, uses.key) if uses.key else name
    for run_name in (named,) if isinstance(named, str) else named:
        place = f"{where}.{uses.key}" if uses.key else where
        yield place, run_name, params.studies_of_runs if uses.tuned else params.runs
        run = params.base_of(run_name)
        yield f"{where}.study", entry.study, [params.studies_of_runs[run_name]]
        yield f"{where}.dataset", entry.dataset, [run.dataset]
        if uses.task:
            yield f"{place}: {run_name}: task" if uses.key == "runs" else f"{place}: task", run.task, [uses.task]


def _of_table(name: str, params: Sections) -> Iterator[Reference]:
    """Yield the rules for a table: its name, and the runs and angles in it."""
    table = params.tables[name]
    where = f"tables.{name}"
    yield f"{where}.study", table.study, params.studies
    yield where, name, [f"{table.study}-{table.kind}"]
    yield f"{where}.kind", table.kind, params.studies[table.study].tables
    known = params.runs_of(table.study)
    if isinstance(table, Topologies):
        yield f"{where}.base", table.base, known
    for run in table.run_names():
        yield f"{where}.runs", run, known
    if isinstance(table, Robustness):
        for run in table.runs:
            yield f"{where}.runs", run, [*params.robustness, *(name for name in known if _is_hard(name, params))]
            if run in params.robustness:
                for degrees in table.degrees:
                    yield f"{where}.degrees", degrees, range(0, 360, params.robustness[run].step)


def _is_hard(name: str, params: Sections) -> bool:
    """Say whether the test images of a run are harder than its training images: affine digits, or pairs."""
    run = params.base_of(name)
    return run.task == "separate" or params.datasets[run.dataset].format == "affnist"


def _check_folders(params: Sections) -> None:
    """Raise ValueError if two entries would draw into one folder."""
    owners: dict[str, str] = {}
    for section in DRAWN:
        for name in getattr(params, section):
            if name in owners:
                raise ValueError(f"{section}.{name}: got {name!r}, expected a name that is not in {owners[name]}")
            owners[name] = section


def _check_searches(params: Sections) -> None:
    """Raise ValueError if a search cannot begin with the values of its run."""
    for name, search in params.tune.items():
        run = params.runs[search.run]
        if not run.alpha:
            raise ValueError(f"tune.{name}.run: alpha: got 0, expected greater than 0 on a logarithmic scale")
        for key in ("alpha", "lr"):
            (low, high), own = getattr(search, key), getattr(run, key)
            if not low <= own <= high:
                raise ValueError(
                    f"tune.{name}.{key}: got [{low}, {high}], expected bounds that hold {own}, the {key} of "
                    f"{search.run}: the first trial has the run's own values"
                )


def _check_comparisons(params: Sections) -> None:
    """Raise ValueError if the runs of a table cannot be compared with each other."""
    for name, table in params.tables.items():
        where = f"tables.{name}.runs"
        if isinstance(table, Decoders | Topologies):
            _check_test_set(table.run_names(), where, params)
        if isinstance(table, Topologies):
            base = params.base_of(table.base).model_dump()
            for run in table.runs:
                factor(params.base_of(run).model_dump(), base, f"{where}: {run}")


def _check_test_set(names: Sequence[str], where: str, params: Sections) -> None:
    sets = dict.fromkeys((run.dataset, run.task) for run in map(params.base_of, names))
    if len(sets) > 1:
        got = " and ".join(f"{dataset} ({task})" for dataset, task in sets)
        raise ValueError(f"{where}: got runs of {got}, expected runs of one data set and one task")
