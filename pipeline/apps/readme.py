"""Put the tables of reports/, and what they show in words, between their markers in README.md.

    python -m pipeline.apps.readme

A marker is <!-- table: <study>/<name> --> or <!-- findings: <study> -->; everything from there to the next
<!-- end --> is replaced, by the words "Not made yet." where there is no such table. Findings are those of the study's
page: first what is missing, then, table by table, what the runs that are scored show.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.reporting.findings import NOT_RUN_YET
from pipeline.reporting.page import TableShown, in_sentences, missing, table
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import REPORTS, TABLES
from pipeline.settings.params import Params, find, load_params

README = Path("README.md")
BEHIND = ("Ours: ", "Trained on ")  # notes under a table on n, test images and hardware
NOT_MADE = "Not made yet.\n"
MARKED_TABLE = re.compile(r"(<!-- table: (?P<study>[\w.-]+)/(?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MARKED_FINDINGS = re.compile(r"(<!-- findings: (?P<study>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_results(text: str) -> str:
    """Return the text with every marked table and all marked findings as they stand in reports/."""

    def tables(match: re.Match[str]) -> str:
        path = REPORTS / match["study"] / TABLES / f"{match['name']}.md"
        return match[1] + (path.read_text(encoding="utf-8") if path.is_file() else NOT_MADE) + match[4]

    def findings(match: re.Match[str]) -> str:
        return match[1] + in_words(match["study"], load_params()) + match[3]

    return MARKED_FINDINGS.sub(findings, MARKED_TABLE.sub(tables, text))


def in_words(study: str, params: Params) -> str:
    """Return what is missing in a study, and what each of its tables shows, as Markdown."""
    kinds = find(study, params.studies, "findings").tables
    made = [kind for kind in kinds if (REPORTS / study / TABLES / f"{kind}.md").is_file()]
    parts = ["".join(f"- {sentence}\n" for sentence in in_sentences(missing(study, params)))]
    parts += [
        f"**{shown.title}**\n\n" + "".join(f"- {sentence}\n" for sentence in _said(shown))
        for shown in (table(study, kind, params) for kind in made)
        if shown.scored
    ]
    return "\n".join(filter(None, parts)) or NOT_MADE


def _said(shown: TableShown) -> list[str]:
    """Return the findings of a table, and what is behind its numbers; what is missing was said for all of them."""
    found = [sentence for sentence in shown.findings if not sentence.startswith(NOT_RUN_YET)]
    return [*found, *(note for note in shown.notes if note.startswith(BEHIND))]


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrite README.md."""
    parser(__doc__).parse_args(argv)
    write_whole(README, with_results(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    run_stage(main)
