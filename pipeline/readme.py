"""Put the tables of reports/ between their markers in README.md.

    python -m pipeline.readme

A marker is <!-- table: <study>/<name> -->; everything from there to the next <!-- end --> is replaced, by the words
"Not made yet." where there is no such table.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.outputs import REPORTS, TABLES
from pipeline.stage import parser, run_stage

README = Path("README.md")
NOT_MADE = "Not made yet.\n"
MARKED = re.compile(r"(<!-- table: (?P<study>[\w.-]+)/(?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """Return the text with every marked table as it stands in reports/."""

    def filled(match: re.Match[str]) -> str:
        table = REPORTS / match["study"] / TABLES / f"{match['name']}.md"
        return match[1] + (table.read_text(encoding="utf-8") if table.is_file() else NOT_MADE) + match[4]

    return MARKED.sub(filled, text)


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrite README.md."""
    parser(__doc__).parse_args(argv)
    write_whole(README, with_tables(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    run_stage(main)
