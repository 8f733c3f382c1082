"""A table as the page of its study shows it."""

from typing import NamedTuple

import pandas as pd

from pipeline.reporting.findings.kinds import FINDINGS, HEADLINES
from pipeline.reporting.findings.shared import NOT_RUN_YET
from pipeline.reporting.typeset import Part, read_parts, unescaped
from pipeline.runtime.made_files import existing
from pipeline.runtime.paths import REPORTS, TABLES
from pipeline.settings.params import Params


class TableShown(NamedTuple):
    """A table as people read it, with its findings and the notes that it needs."""

    kind: str
    title: str
    command: str
    parts: list[Part]
    notes: list[str]
    findings: list[str]
    headline: str  # the finding in one sentence, if there is one
    scored: bool  # whether any of its runs is

    @property
    def found(self) -> list[str]:
        """The findings without the runs that are missing: the notes name them."""
        return [sentence for sentence in self.findings if not sentence.startswith(NOT_RUN_YET)]


def table(study: str, kind: str, params: Params) -> TableShown:
    """Read a table of a study."""
    name = f"{study}-{kind}"
    command = f"dvc repro tabulate@{name}"
    folder = REPORTS / study / TABLES
    text = existing(folder / f"{kind}.md", command).read_text(encoding="utf-8")
    # Only an empty cell means nothing: a setting may be called "null".
    path = existing(folder / f"{kind}.csv", command)
    data = pd.read_csv(path, dtype={"value": str}, keep_default_na=False, na_values="")
    entry = params.tables[name]
    return TableShown(
        kind=kind,
        title=entry.title,
        command=command,
        parts=read_parts(text),
        notes=[unescaped(line.removeprefix("- ")) for line in text.splitlines() if line.startswith("- ")],
        findings=FINDINGS[kind](data, entry),
        headline=HEADLINES[kind](data, entry) if kind in HEADLINES else "",
        scored=bool(data["seeds"].gt(0).any()),
    )
