"""The content of the page of a study, from declared files. Missing files are left out, and named."""

from typing import NamedTuple

from pipeline.reporting.figures_shown import FigureSetShown, figure_sets, shown_sets
from pipeline.reporting.gaps import in_sentences, missing, shown_runs
from pipeline.reporting.run_shown import RunShown, all_settings, data_table, differing, run
from pipeline.reporting.scores import read_metrics
from pipeline.reporting.search_shown import SearchShown, searches
from pipeline.reporting.summary import Summary, summarise, without
from pipeline.reporting.table_shown import TableShown, table
from pipeline.reporting.typeset import Cells
from pipeline.settings.params import Params


class Page(NamedTuple):
    """The content of the page of a study."""

    study: str
    title: str
    about: str
    experiment: str
    summary: Summary
    tables: list[TableShown]
    sets: list[FigureSetShown]
    searches: list[SearchShown]
    runs: list[RunShown]
    differing: Cells
    settings: Cells
    data: Cells
    missing: list[str]  # sentences

    @property
    def command(self) -> str:
        """The command that made the page: for the whole study, or for the parts that exist."""
        return f"python -m pipeline.apps.results {self.study}" if self.missing else f"dvc repro report@{self.study}"

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The command that makes each part, and the name of the part."""
        whole = "everything on this page"
        return [
            *([(self.command, f"{whole}, without what is missing")] if self.missing else []),
            (f"dvc repro report@{self.study}", f"{whole}{', and what is missing' if self.missing else ''}"),
            *((each.command, f"table: {each.title}") for each in self.tables),
            *((each.command, f"figures: {each.title}") for each in self.sets),
            *((each.command, f"search: {each.name}") for each in self.searches),
            *((f"dvc repro prepare@{name}", f"data: {name}") for name, *_ in self.data[1:]),
        ]

    @property
    def width(self) -> int:
        """The number of characters of the longest command."""
        return max(len(command) for command, _ in self.commands)


def gather(study: str, params: Params) -> Page:
    """Return the content of the page. Raises FileNotFoundError naming the stage that makes a lost file."""
    entry = params.studies[study]
    tables = [table(study, kind, params) for kind in entry.tables]
    drawn = figure_sets(study, params)
    sets = shown_sets(drawn, params)
    summary = summarise(tables, sets)
    metrics = read_metrics(study, shown_runs(study, drawn, params))
    runs = [run(row) for row in metrics]
    return Page(
        study=study,
        title=entry.title,
        about=entry.about,
        experiment=params.tracking.experiment,
        summary=summary,
        tables=tables,
        sets=without(summary.figure, sets),
        searches=searches(study, params),
        runs=runs,
        differing=differing(runs),
        settings=all_settings(runs),
        data=data_table(metrics),
        missing=in_sentences(missing(study, params)),
    )
