"""What the page of a study says, gathered from declared files; what is not there is left out, and said to be."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from pipeline.drawing.figure import INDEX
from pipeline.reporting.data_urls import Embedded, moving, still
from pipeline.reporting.findings import FINDINGS, search_plots
from pipeline.reporting.scores import read_metrics, read_rotations, rotated_by, scored_by
from pipeline.reporting.search_method import decided, method
from pipeline.reporting.typeset import Cells, read_markdown, word
from pipeline.runtime.paths import FIGURES, REPORTS, TABLES, TUNING
from pipeline.settings.params import Params
from pipeline.settings.reading import read_yaml
from pipeline.settings.searches import Tune

# Where `make ui` serves the store that the stages make. There the experiment of params.yaml is the first: MLflow's own
# is number 0, and its pages take a number only.
MLFLOW = "http://127.0.0.1:5000/#/experiments/1/runs?searchFilter="
# The files of a picture by their suffix, as the page calls them.
FILES = {".png": "PNG", ".pdf": "PDF", ".csv": "numbers (CSV)", ".gif": "in motion (GIF)"}


class TableShown(NamedTuple):
    """A table as people read it, with what was found in it and what must be known to read it."""

    kind: str
    title: str
    command: str
    cells: Cells
    notes: list[str]
    findings: list[str]
    scored: bool  # whether any of its runs is


class FigureShown(NamedTuple):
    """One picture; `files` are the paths of its files from the page, by what the page calls them."""

    title: str
    caption: str
    image: Embedded
    motion: Embedded | None
    files: dict[str, str]


class SetShown(NamedTuple):
    """The pictures of one stage, and what holds for all of them."""

    name: str
    title: str
    command: str
    note: str
    runs: Sequence[str]
    figures: list[FigureShown]
    remarks: list[str]  # on weights that were not trained here, and on what could not be drawn


class SearchShown(NamedTuple):
    """What a search found."""

    name: str
    command: str
    entry: Tune
    method: str
    best: dict[str, Any]
    decided: str
    trials: Cells
    figures: list[FigureShown]


class RunShown(NamedTuple):
    """A run, what makes it, and where MLflow shows it."""

    name: str
    model: str
    command: str
    condition: str  # for the search field of MLflow
    link: str
    settings: dict[str, str]


class Page(NamedTuple):
    """A study."""

    study: str
    title: str
    about: str
    experiment: str
    tables: list[TableShown]
    sets: list[SetShown]
    searches: list[SearchShown]
    runs: list[RunShown]
    differing: Cells
    settings: Cells
    data: Cells
    missing: list[str]  # a sentence each

    @property
    def command(self) -> str:
        """What made the page: the whole study, or as much of it as there was."""
        return f"python -m pipeline.apps.results {self.study}" if self.missing else f"dvc repro report@{self.study}"

    @property
    def commands(self) -> list[tuple[str, str]]:
        """What makes each part, and what that is."""
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
        """The longest command's number of characters."""
        return max(len(command) for command, _ in self.commands)


class Drawn(NamedTuple):
    """The pictures of one stage, made or not: reports/<study>/figures/<name>/."""

    study: str
    stage: str
    name: str
    dataset: str
    runs: tuple[str, ...]

    @property
    def command(self) -> str:
        """What makes them with all that they need."""
        return f"dvc repro {self.stage}@{self.name}"

    @property
    def listing(self) -> Path:
        """The file that lists them."""
        return REPORTS / self.study / FIGURES / self.name / INDEX


def drawn_sets(study: str, params: Params) -> list[Drawn]:
    """Return the sets of pictures of a study, in the order of its page."""
    compared = [("compare", name, each.dataset, each.runs) for name, each in params.compare.items()]
    figures = [("draw", name, name, (each.run,)) for name, each in params.figures.items()]
    pairs = [("separate", name, each.dataset, (name,)) for name, each in params.pairs.items()]
    everything = [Drawn(params.runs[each[3][0]].study, *each) for each in (*compared, *figures, *pairs)]
    return [each for each in everything if each.study == study]


def gather(study: str, params: Params) -> Page:
    """Return what the page of a study says. Raises FileNotFoundError naming the stage that makes a lost file."""
    entry = params.studies[study]
    tables = [table(study, kind, params) for kind in entry.tables]
    drawn = drawn_sets(study, params)
    sets = [picture_set(each, params) for each in drawn if each.listing.is_file()]
    named = {name: each for name, each in params.tune.items() if each.study == study}
    searches = [search(study, name, each) for name, each in named.items() if best_of(study, name).is_file()]
    shown = shown_runs(study, drawn, params)
    metrics = read_metrics(study, shown)
    runs = [run(row) for row in metrics]
    return Page(
        study=study,
        title=entry.title,
        about=entry.about,
        experiment=params.tracking.experiment,
        tables=tables,
        sets=sets,
        searches=searches,
        runs=runs,
        differing=differing(runs),
        settings=all_settings(runs),
        data=data_table(metrics),
        missing=in_sentences(missing(study, params)),
    )


class Missing(NamedTuple):
    """Something of a study that is not there, and the command that makes it with all that it needs."""

    kind: str
    name: str
    command: str


def missing(study: str, params: Params) -> list[Missing]:
    """Return what a study does not have: runs that are not scored, pictures not drawn, searches not made."""
    drawn = drawn_sets(study, params)
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
    """Say what is missing, a sentence a kind."""
    kinds = dict.fromkeys(gap.kind for gap in gaps)
    return [f"{kind.capitalize()} yet: {', '.join(gap.name for gap in gaps if gap.kind == kind)}." for kind in kinds]


def shown_runs(study: str, sets: Sequence[Drawn], params: Params) -> list[str]:
    """Return the runs behind tables and pictures, in the order of params.yaml, tuned ones last."""
    shown = {name for each in sets for name in each.runs}
    for kind in params.studies[study].tables:
        shown |= {*params.tables[f"{study}-{kind}"].run_names()}
    return [name for name in params.studies_of_runs if name in shown]


def table(study: str, kind: str, params: Params) -> TableShown:
    """Return a table of a study."""
    name = f"{study}-{kind}"
    command = f"dvc repro tabulate@{name}"
    folder = REPORTS / study / TABLES
    text = existing(folder / f"{kind}.md", command).read_text(encoding="utf-8")
    # Only what is empty is nothing: a setting may be called "null".
    path = existing(folder / f"{kind}.csv", command)
    data = pd.read_csv(path, dtype={"value": str}, keep_default_na=False, na_values="")
    entry = params.tables[name]
    notes = [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]
    scored = bool(data["seeds"].gt(0).any())
    return TableShown(kind, entry.title, command, read_markdown(text), notes, FINDINGS[kind](data, entry), scored)


def picture_set(drawn: Drawn, params: Params) -> SetShown:
    """Return the pictures that a stage drew of runs, as it lists them."""
    told = json.loads(drawn.listing.read_text(encoding="utf-8"))
    folder, command, runs = drawn.listing.parent, drawn.command, told["runs"]
    title = f"{', '.join(params.runs[each].label for each in runs)} on {told['dataset']}"
    figures = [figure(folder / each["name"], each["title"], each["caption"], command) for each in told["figures"]]
    remarks = [f"Drawn with the weights in {', '.join(told['weights'])}."] if "weights" in told else []
    remarks += [f"Left out: {sentence}." for sentence in told.get("left_out", [])]
    return SetShown(drawn.name, title, command, told["note"], runs, figures, remarks)


def figure(stem: Path, title: str, caption: str, command: str) -> FigureShown:
    """Return a picture with all that lies beside it: reports/<study>/<stem>.png and the like."""
    image = still(existing(Path(f"{stem}.png"), command))
    there = {suffix: path for suffix in FILES if (path := Path(f"{stem}{suffix}")).is_file()}
    motion = moving(there[".gif"]) if ".gif" in there else None
    files = {FILES[suffix]: quote("/".join(path.parts[2:])) for suffix, path in there.items()}
    return FigureShown(title, caption, image, motion, files)


def best_of(study: str, name: str) -> Path:
    """Return where the best values of a search are, if it was made."""
    return REPORTS / study / TUNING / name / "best.yaml"


def search(study: str, name: str, entry: Tune) -> SearchShown:
    """Return what a search found, with its plots."""
    command = f"dvc repro tune@{name}"
    folder = best_of(study, name).parent
    best = read_yaml(best_of(study, name))
    trials = pd.read_csv(existing(folder / "trials.csv", command))
    plots = search_plots(trials, best["trial"])
    figures = [figure(folder / plot, title, caption, command) for plot, title, caption in plots]
    cells = [list(trials.columns), *([_short(value) for value in row] for row in trials.to_numpy().tolist())]
    return SearchShown(name, command, entry, method(entry), best, decided(best), cells, figures)


def run(metrics: dict[str, Any]) -> RunShown:
    """Return a run as it was scored."""
    name = metrics["run"]
    condition = f"attributes.run_name = '{name}'"
    seeds = [int(seed) for seed in metrics["seed_list"].split(", ")]
    settings = {key: word(value) for key, value in {**metrics["settings"], "seeds": seeds}.items() if key != "study"}
    return RunShown(name, metrics["model"], scored_by(name), condition, MLFLOW + quote(condition), settings)


def differing(runs: Sequence[RunShown]) -> Cells:
    """Return the settings in which runs differ, a row a run."""
    keys = [key for key, *values in all_settings(runs)[1:] if len(set(values)) > 1]
    return [["Run", *keys], *([each.name, *(each.settings.get(key, "") for key in keys)] for each in runs)]


def all_settings(runs: Sequence[RunShown]) -> Cells:
    """Return every setting in every run, a row a setting; one that a run was scored without is empty there."""
    keys = dict.fromkeys(key for each in runs for key in each.settings)
    return [
        ["Setting", *(each.name for each in runs)],
        *([key, *(r.settings.get(key, "") for r in runs)] for key in keys),
    ]


def data_table(metrics: Sequence[dict[str, Any]]) -> Cells:
    """Return the data sets that runs were scored on, with what is not exact about any."""
    rows = dict.fromkeys((row["dataset"], f"{row['test_images']:,}", row["note"] or "none") for row in metrics)
    return [["Data", "Test images", "Note"], *map(list, rows)]


def existing(path: Path, command: str) -> Path:
    """Return the path of a file. Raises FileNotFoundError naming the command that makes it if it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `{command}` makes it")
    return path


def _short(value: Any) -> str:
    return value if isinstance(value, str) else "" if pd.isna(value) else f"{value:.4g}"
