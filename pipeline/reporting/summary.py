"""The first screen of a page: one figure and three findings, each with a link to its evidence."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.reporting.figures_shown import FigureSetShown, FigureShown
from pipeline.reporting.findings.kinds import HEADLINES
from pipeline.reporting.table_shown import TableShown

FINDINGS = 3
# The figure of the first screen: the first of these that exists, otherwise the first figure of the study.
FIRST = ("rotation", "reconstructions")


class Finding(NamedTuple):
    """One sentence with its number, and the place of the page that shows it."""

    sentence: str
    evidence: str  # words of the link
    anchor: str


class Summary(NamedTuple):
    """What a reader sees first."""

    figure: FigureShown | None
    findings: list[Finding]


def summarise(tables: Sequence[TableShown], sets: Sequence[FigureSetShown]) -> Summary:
    """Choose a figure, and findings of different tables; figures fill the list if tables do not."""
    figures = [figure for each in sets for figure in each.figures]
    ranked = sorted(figures, key=lambda each: FIRST.index(each.name) if each.name in FIRST else len(FIRST))
    first = ranked[0] if ranked else None
    order = [*HEADLINES]
    in_tables = [
        Finding(each.headline, f"Table: {each.title}", f"table-{each.kind}")
        for each in sorted(tables, key=lambda each: order.index(each.kind) if each.kind in order else len(order))
        if each.headline
    ]
    in_figures = [Finding(each.finding, f"Figure: {each.title}", each.anchor) for each in figures if each != first]
    return Summary(first, [*in_tables, *in_figures][:FINDINGS])


def without(first: FigureShown | None, sets: Sequence[FigureSetShown]) -> list[FigureSetShown]:
    """Remove the figure of the first screen from its set, and say where it is."""
    return [
        each._replace(
            figures=[figure for figure in each.figures if figure != first],
            remarks=[*each.remarks, f"At the top of the page: {first.title}."],
        )
        if first is not None and first in each.figures
        else each
        for each in sets
    ]
