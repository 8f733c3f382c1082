"""The figures of a study as its page shows them: sets of figures, one for each stage that draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pipeline.drawing.figure import INDEX
from pipeline.reporting.data_urls import Embedded, moving, still
from pipeline.runtime.made_files import existing, read_json
from pipeline.runtime.paths import FIGURES, REPORTS
from pipeline.settings.params import Params

# The files of a figure by their suffix, with the name of their link.
FILES = {".png": "PNG", ".pdf": "PDF", ".csv": "numbers (CSV)", ".gif": "animation (GIF)"}
# Figures that a comparison of several runs also has.
COMPARED = {"curves": "learning curves", "reconstructions": "reconstructions"}


class FigureShown(NamedTuple):
    """One figure; `files` are the paths of its files from the page, by the name of their link."""

    name: str
    anchor: str
    title: str
    finding: str
    caption: str
    image: Embedded
    motion: Embedded | None
    files: dict[str, str]


class FigureSetShown(NamedTuple):
    """The figures of one stage, and what holds for all of them."""

    name: str
    title: str
    command: str
    note: str
    runs: Sequence[str]
    figures: list[FigureShown]
    remarks: list[str]  # on published weights, and on figures that are left out or shown elsewhere


class FigureSet(NamedTuple):
    """The figures of one stage, made or not: reports/<study>/figures/<name>/."""

    study: str
    stage: str
    name: str
    dataset: str
    runs: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that makes the figures with all that they need."""
        return f"dvc repro {self.stage}@{self.name}"

    @property
    def listing(self) -> Path:
        """The file that lists the figures."""
        return REPORTS / self.study / FIGURES / self.name / INDEX


def figure_sets(study: str, params: Params) -> list[FigureSet]:
    """Return the sets of figures of a study, in the order of its page."""
    compared = [
        FigureSet(each.study, "compare", name, each.dataset, each.runs) for name, each in params.compare.items()
    ]
    drawn = [FigureSet(each.study, "draw", name, each.dataset, (each.run,)) for name, each in params.figures.items()]
    separated = [FigureSet(each.study, "separate", name, each.dataset, (name,)) for name, each in params.pairs.items()]
    return [each for each in (*compared, *drawn, *separated) if each.study == study]


def shown_sets(drawn: Sequence[FigureSet], params: Params) -> list[FigureSetShown]:
    """Return the sets that are drawn. No figure occurs twice."""
    return without_repeats([shown_set(each, params) for each in drawn if each.listing.is_file()])


def shown_set(drawn: FigureSet, params: Params) -> FigureSetShown:
    """Return the figures that a stage drew, as its file lists them.

    Raises ValueError if an earlier version drew them, without findings.
    """
    written = read_json(drawn.listing, drawn.command)
    if any("finding" not in each for each in written["figures"]):
        raise ValueError(f"{drawn.listing}: of another version (no findings); `{drawn.command}` makes it anew")
    title = f"{_together([params.runs[run].label for run in written['runs']])} on {written['dataset']}"
    figures = [
        figure(
            drawn.listing.parent / each["name"],
            (each["title"], each["finding"], each["caption"]),
            f"figure-{drawn.name}-{each['name']}",
            drawn.command,
        )
        for each in written["figures"]
    ]
    remarks = [f"Drawn with the weights in {', '.join(written['weights'])}."] if "weights" in written else []
    remarks += [f"Left out: {sentence}." for sentence in written.get("left_out", [])]
    return FigureSetShown(drawn.name, title, drawn.command, written["note"], written["runs"], figures, remarks)


def _together(labels: Sequence[str]) -> str:
    """Join labels, with semicolons if a label has a comma of its own."""
    return ("; " if len(labels) > 1 and any("," in label for label in labels) else ", ").join(labels)


def without_repeats(sets: Sequence[FigureSetShown]) -> list[FigureSetShown]:
    """Leave out figures of a single run that an earlier comparison shows beside those of other runs."""
    kept: list[FigureSetShown] = []
    for each in sets:
        shown = {
            figure.name
            for other in kept
            if {*each.runs} < {*other.runs}
            for figure in other.figures
            if figure.name in COMPARED
        }
        repeated = [COMPARED[figure.name] for figure in each.figures if figure.name in shown]
        figures = [figure for figure in each.figures if figure.name not in shown]
        remarks = [f"The comparison of several runs shows the {' and the '.join(repeated)}."] if repeated else []
        kept.append(each._replace(figures=figures, remarks=[*each.remarks, *remarks]))
    return kept


def figure(stem: Path, words: tuple[str, str, str], anchor: str, command: str) -> FigureShown:
    """Return a figure with title, finding and caption, and all files beside it: reports/<study>/<stem>.png ..."""
    image = still(existing(Path(f"{stem}.png"), command))
    there = {suffix: path for suffix in FILES if (path := Path(f"{stem}{suffix}")).is_file()}
    motion = moving(there[".gif"]) if ".gif" in there else None
    files = {FILES[suffix]: quote("/".join(path.parts[2:])) for suffix, path in there.items()}
    return FigureShown(stem.name, anchor, *words, image, motion, files)
