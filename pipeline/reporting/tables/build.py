"""Building and writing the tables of params.yaml."""

from collections.abc import Callable
from typing import Any

from capsnet.files import write_whole
from pipeline.reporting.search_method import searched
from pipeline.reporting.tables.benchmarks import benchmarks
from pipeline.reporting.tables.costs import costs
from pipeline.reporting.tables.decoders import decoders
from pipeline.reporting.tables.robustness import robustness
from pipeline.reporting.tables.table import Table
from pipeline.reporting.tables.topologies import topologies
from pipeline.reporting.typeset import latex, markdown_parts, plain_note
from pipeline.runtime.paths import REPORTS, TABLES
from pipeline.settings.params import Params, find

BUILDERS: dict[str, Callable[[Any, Params], Table]] = {
    "decoders": decoders,
    "benchmarks": benchmarks,
    "topologies": topologies,
    "robustness": robustness,
    "costs": costs,
}


def build(name: str, params: Params) -> Table:
    """Return a table of params.yaml, with its gaps. Raises ValueError for an unknown name."""
    entry = find(name, params.tables, "table")
    table = BUILDERS[entry.kind](entry, params)
    shown = table.data["run"].dropna().unique().tolist()
    return table._replace(notes=[*table.notes, *searched(shown, params.tune)])


def write(name: str, params: Params) -> Table:
    """Write a table of params.yaml as CSV, Markdown and LaTeX, and return it."""
    table = build(name, params)
    entry = params.tables[name]
    path = REPORTS / entry.study / TABLES / entry.kind
    notes = "".join(f"\n- {plain_note(note)}" for note in (*table.notes, table.provenance))
    first, *others = table.parts
    caption = f"{': '.join(filter(None, (entry.title, first.title)))}. {' '.join(table.notes)}"
    floats = [latex(first.cells, caption, f"tab:{name}", [table.provenance])]
    floats += [
        latex(part.cells, f"{entry.title}: {part.title}.", f"tab:{name}-{number}")
        for number, part in enumerate(others, 2)
    ]
    write_whole(path.with_suffix(".csv"), table.data.to_csv(index=False, lineterminator="\n"))
    write_whole(path.with_suffix(".md"), markdown_parts(table.parts) + notes + "\n")
    write_whole(path.with_suffix(".tex"), "\n".join(floats))
    return table
