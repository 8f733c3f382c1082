"""Fill the marked tables and findings of README.md and docs/*.md from reports/, and draw docs/pipeline.svg.

    python -m pipeline.apps.readme

A marker is one of these, and everything between it and the next <!-- end --> is replaced:

- <!-- table: <study>/<name> -->: a table of a study; <!-- table: <name> -->: reports/<name>.csv as a table. If it is
  not there, "Not made yet." takes its place, or a sentence about `make gpu` if it is one of its tables.
- <!-- findings: <study> -->: what is missing in a study, then for each table what the scored runs show.
- <!-- findings: <study>/<name> -->: the same for one table.
- <!-- in short: <study> -->: how many runs have no result, then one sentence for each table.
"""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.apps.stage_graph import DRAWING, as_svg, stage_needs
from pipeline.reporting.figures_shown import figure_sets
from pipeline.reporting.findings import HEADLINES
from pipeline.reporting.gaps import in_sentences, missing, shown_runs
from pipeline.reporting.table_shown import table
from pipeline.reporting.typeset import markdown, plain_cell
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import REPORTS, TABLES
from pipeline.settings.params import Params, find, load_params

README = Path("README.md")
DOCS = Path("docs")
NOT_MADE = "Not made yet.\n"
ON_GPU = "gpu"  # reports/gpu/ is what `make gpu` writes
NOT_ON_GPU = "`make gpu` has not been run to its end on a GPU yet.\n"
MARKED = re.compile(
    r"(?P<begin><!-- (?P<kind>table|findings|in short): (?P<name>[\w./-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)


def documents() -> list[Path]:
    """Return the existing Markdown files that may have markers: README.md and those in docs/."""
    return [path for path in (README, *sorted(DOCS.glob("*.md"))) if path.is_file()]


def with_results(text: str) -> str:
    """Return the text with every marked table and all marked findings as they are in reports/."""
    return MARKED.sub(lambda found: found["begin"] + FILLED[found["kind"]](found["name"]) + found["end"], text)


def table_named(name: str) -> str:
    """Return as Markdown a table of a study, <study>/<kind>, or one in reports/ itself."""
    study, _, kind = name.rpartition("/")
    path = REPORTS / study / TABLES / f"{kind}.md" if study else REPORTS / f"{kind}.csv"
    if not path.is_file():
        return NOT_ON_GPU if study == ON_GPU else NOT_MADE
    text = path.read_text(encoding="utf-8")
    return text if study else markdown([*csv.reader(text.splitlines())])


def in_short(study: str) -> str:
    """Return as Markdown how many runs of a study have no result, and the first finding of each table."""
    params = load_params()
    kinds = made_tables(study, params)
    runs = shown_runs(study, figure_sets(study, params), params)
    without = [gap for gap in missing(study, params) if gap.kind == "not run"]
    said = [f"No result yet: {len(without)} of {len(runs)} runs."] if without else []
    headlines = [table(study, kind, params).headline for kind in HEADLINES if kind in kinds]
    return bulleted([*said, *filter(None, headlines)]) or NOT_MADE


def made_tables(study: str, params: Params) -> list[str]:
    """Return the tables of a study that are made. Raises ValueError for an unknown study."""
    kinds = find(study, params.studies, "study").tables
    return [kind for kind in kinds if (REPORTS / study / TABLES / f"{kind}.md").is_file()]


def findings(name: str) -> str:
    """Return as Markdown what is missing in a study and what each of its tables shows; or, of <study>/<kind>, one."""
    study, _, kind = name.partition("/")
    params = load_params()
    made = made_tables(study, params)
    if kind:
        return bulleted(table(study, kind, params).findings) if kind in made else NOT_MADE
    parts = [bulleted(in_sentences(missing(study, params)))]
    parts += [
        f"**{plain_cell(shown.title)}**\n\n{bulleted(shown.found)}"
        for shown in (table(study, kind, params) for kind in made)
        if shown.scored
    ]
    return "\n".join(filter(None, parts)) or NOT_MADE


def bulleted(sentences: Sequence[str]) -> str:
    """Return sentences as a list in Markdown."""
    return "".join(f"- {plain_cell(sentence)}\n" for sentence in sentences)


FILLED: dict[str, Callable[[str], str]] = {"table": table_named, "findings": findings, "in short": in_short}


def main(argv: Sequence[str] | None = None) -> None:
    """Fill every document."""
    parser(__doc__).parse_args(argv)
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (filled := with_results(text)) != text:
            write_whole(path, filled)
    if DRAWING.is_file():
        write_whole(DRAWING, as_svg(stage_needs()))


if __name__ == "__main__":
    run_stage(main)
