"""The first screen of a page: one picture and three findings, each with a link to its evidence."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.reporting.findings.kinds import HEADLINES
from pipeline.reporting.pictures import FigureShown, SetShown
from pipeline.reporting.table_shown import TableShown

FINDINGS = 3
# The picture is the first of these that there is, or else the first picture of the study.
PICTURES = ("rotation", "reconstructions")


class Finding(NamedTuple):
    """One sentence with its number, and the place of the page that shows it."""

    sentence: str
    evidence: str  # words of the link
    anchor: str


class Summary(NamedTuple):
    """What a reader sees first."""

    picture: FigureShown | None
    findings: list[Finding]


def summarise(tables: Sequence[TableShown], sets: Sequence[SetShown]) -> Summary:
    """Choose a picture, and findings of different tables; figures fill the list if tables do not."""
    figures = [figure for each in sets for figure in each.figures]
    ranked = sorted(figures, key=lambda figure: PICTURES.index(figure.name) if figure.name in PICTURES else 9)
    picture = ranked[0] if ranked else None
    order = [*HEADLINES]
    in_tables = [
        Finding(each.headline, f"Table: {each.title}", f"table-{each.kind}")
        for each in sorted(tables, key=lambda each: order.index(each.kind) if each.kind in order else len(order))
        if each.headline
    ]
    in_figures = [Finding(each.finding, f"Figure: {each.title}", each.anchor) for each in figures if each != picture]
    return Summary(picture, [*in_tables, *in_figures][:FINDINGS])


def without(picture: FigureShown | None, sets: Sequence[SetShown]) -> list[SetShown]:
    """Remove the picture of the first screen from its set, and say where it is."""
    return [
        each._replace(
            figures=[figure for figure in each.figures if figure != picture],
            remarks=[*each.remarks, f"At the top of the page: {picture.title}."],
        )
        if picture is not None and picture in each.figures
        else each
        for each in sets
    ]
