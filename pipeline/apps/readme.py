"""Fill the marked tables and findings of README.md and docs/*.md from reports/, and draw docs/pipeline.svg.

    python -m pipeline.apps.readme

A marker is <!-- table: <study>/<name> -->, <!-- table: <name> --> (the table is reports/<name>.csv), or
<!-- findings: <study> -->. Everything between it and the next <!-- end --> is replaced. If there is no such table, "Not
made yet." takes its place, or a sentence about `make gpu` if it is one of its tables. Findings are those of the study's
page: first what is missing, then for each table what the scored runs show.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.apps.stage_graph import DRAWING, as_svg, stage_needs
from pipeline.reporting.gaps import in_sentences, missing
from pipeline.reporting.table_shown import TableShown, table
from pipeline.reporting.typeset import markdown, plain_cell
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import REPORTS, TABLES
from pipeline.settings.params import Params, find, load_params

README = Path("README.md")
DOCS = Path("docs")
COMMON_NOTES = ("Ours: ", "Trained on ")  # notes under a table on n, test images and hardware
NOT_MADE = "Not made yet.\n"
ON_GPU = "gpu"  # reports/gpu/ is what `make gpu` writes
NOT_ON_GPU = "`make gpu` has not been run to its end on a GPU yet.\n"
MARKED_TABLE = re.compile(
    r"(?P<begin><!-- table: (?:(?P<study>[\w.-]+)/)?(?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
MARKED_FINDINGS = re.compile(r"(<!-- findings: (?P<study>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """Return the existing Markdown files that may have markers: README.md and those in docs/."""
    return [path for path in (README, *sorted(DOCS.glob("*.md"))) if path.is_file()]


def with_results(text: str) -> str:
    """Return the text with every marked table and all marked findings as they are in reports/."""

    def tables(match: re.Match[str]) -> str:
        return match["begin"] + _table(match["study"], match["name"]) + match["end"]

    def findings(match: re.Match[str]) -> str:
        return match[1] + in_words(match["study"], load_params()) + match[3]

    return MARKED_FINDINGS.sub(findings, MARKED_TABLE.sub(tables, text))


def _table(study: str | None, name: str) -> str:
    """Return a table of a study, or one in reports/ itself, as Markdown."""
    path = REPORTS / study / TABLES / f"{name}.md" if study else REPORTS / f"{name}.csv"
    if not path.is_file():
        return NOT_ON_GPU if study == ON_GPU else NOT_MADE
    text = path.read_text(encoding="utf-8")
    return text if study else markdown([*csv.reader(text.splitlines())])


def in_words(study: str, params: Params) -> str:
    """Return as Markdown what is missing in a study, and what each of its tables shows."""
    kinds = find(study, params.studies, "findings").tables
    made = [kind for kind in kinds if (REPORTS / study / TABLES / f"{kind}.md").is_file()]
    parts = ["".join(f"- {plain_cell(sentence)}\n" for sentence in in_sentences(missing(study, params)))]
    parts += [
        f"**{plain_cell(shown.title)}**\n\n" + "".join(f"- {plain_cell(sentence)}\n" for sentence in _sentences(shown))
        for shown in (table(study, kind, params) for kind in made)
        if shown.scored
    ]
    return "\n".join(filter(None, parts)) or NOT_MADE


def _sentences(shown: TableShown) -> list[str]:
    """Return the findings of a table and its common notes. What is missing is said once for the study, not here."""
    return [*shown.found, *(note for note in shown.notes if note.startswith(COMMON_NOTES))]


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
