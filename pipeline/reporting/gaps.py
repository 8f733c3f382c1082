"""What a study does not have yet."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.reporting.figures_shown import FigureSet, figure_sets
from pipeline.reporting.scores import read_metrics, read_rotations, rotated_by, scored_by
from pipeline.reporting.search_shown import best_of
from pipeline.settings.params import Params


class Missing(NamedTuple):
    """A part of a study that is not there, and the command that makes it with all that it needs."""

    kind: str
    name: str
    command: str


def missing(study: str, params: Params) -> list[Missing]:
    """Return the runs that are not scored, the figures that are not drawn and the searches that are not made."""
    drawn = figure_sets(study, params)
    shown = shown_runs(study, drawn, params)
    scored = {row["run"] for row in read_metrics(study, shown)}
    rotated = [name for name, each in params.robustness.items() if each.study == study and name in scored]
    searches = [name for name, each in params.tune.items() if each.study == study]
    return [
        *(Missing("not run", name, scored_by(name)) for name in shown if name not in scored),
        *(Missing("not rotated", n, rotated_by(n)) for n in rotated if read_rotations(study, n) is None),
        *(Missing("not drawn", each.name, each.command) for each in drawn if not each.listing.is_file()),
        *(Missing("not searched", n, f"dvc repro tune@{n}") for n in searches if not best_of(study, n).is_file()),
    ]


def in_sentences(gaps: Sequence[Missing]) -> list[str]:
    """Return a sentence for each kind of gap."""
    kinds = dict.fromkeys(gap.kind for gap in gaps)
    return [f"{kind.capitalize()} yet: {', '.join(gap.name for gap in gaps if gap.kind == kind)}." for kind in kinds]


def shown_runs(study: str, sets: Sequence[FigureSet], params: Params) -> list[str]:
    """Return the runs in tables and figures, in the order of params.yaml, tuned ones last."""
    shown = {name for each in sets for name in each.runs}
    for kind in params.studies[study].tables:
        shown |= {*params.tables[f"{study}-{kind}"].run_names()}
    return [name for name in params.studies_of_runs if name in shown]
