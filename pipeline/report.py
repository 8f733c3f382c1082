"""Assemble a study's page, self-contained and without network: reports/<study>/index.html.

python -m pipeline.report digits
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from capsnet.files import write_whole
from pipeline.config import Params, Run, find, load_params, read_yaml
from pipeline.drawing.drawing import INDEX
from pipeline.outputs import FIGURES, REPORTS, TABLES, TUNING
from pipeline.stage import name_argument, run_stage
from pipeline.typeset import read_markdown

TEMPLATES = Path(__file__).parent / "templates"
PLOTS = {
    "history": "Validation accuracy of each trial, and the best so far.",
    "parallel": "Each line is a trial: its alpha, its learning rate and what came of them.",
    "contour": "Validation accuracy over both parameters.",
    "importance": "How much of the variation each parameter explains.",
}


def findings(table: pd.DataFrame) -> list[str]:
    """Say in sentences what the decoders table shows; nothing is said that is not computed from it."""
    accuracy, spreads = table["accuracy_mean"], table["accuracy_std"]
    highest, lowest = accuracy.max(), accuracy.min()
    said = [
        f"Highest mean accuracy: {_names(table, accuracy == highest)} ({highest:.2f} %); lowest: "
        f"{_names(table, accuracy == lowest)} ({lowest:.2f} %)."
    ]
    if spreads.notna().any():
        said.append(
            f"They are {highest - lowest:.2f} points apart; between seeds of one run the accuracy varies by a standard "
            f"deviation of {spreads.min():.2f} to {spreads.max():.2f} points (n = {table['seeds'].min()})."
        )
    rloss = table["rloss_mean"]
    if rloss.notna().any():
        said.append(f"Best reconstruction: {_names(table, rloss == rloss.min())}, RLoss {rloss.min():.2f} per image.")
    for _, row in table.dropna(subset=["published_accuracy"]).iterrows():
        difference = row["accuracy_mean"] - row["published_accuracy"]
        said.append(
            f"{row['model']}: {difference:+.2f} points against the published {row['published_accuracy']:.2f} %."
        )
    return said


def _names(table: pd.DataFrame, chosen: "pd.Series[bool]") -> str:
    return " and ".join(table.loc[chosen, "model"])


def settings_table(study: str, params: Params) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return run names, and for each setting its value in each run."""
    names = [name for name, run in params.runs.items() if run.study == study]
    runs = [params.runs[name] for name in names]
    return names, [(field, [str(getattr(run, field)) for run in runs]) for field in Run.model_fields]


def searches(study: str, params: Params) -> list[dict[str, Any]]:
    """Return what was found in each search of a study."""
    found = []
    for name, entry in params.tune.items():
        if entry.study != study:
            continue
        folder = REPORTS / study / TUNING / name
        plots = [(picture(folder / f"{plot}.png"), caption) for plot, caption in PLOTS.items()]
        found.append({"name": name, "entry": entry, "best": read_yaml(folder / "best.yaml"), "plots": plots})
    return found


def figures(study: str, params: Params) -> list[dict[str, Any]]:
    """Return the sets of pictures of a study, comparisons first, each with what its stage says about them."""
    compared = [name for name, entry in params.compare.items() if entry.study == study]
    sets = []
    for name in [*compared, *(name for name, entry in params.figures.items() if entry.study == study)]:
        folder = REPORTS / study / FIGURES / name
        told = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        drawn = [{**figure, "image": picture(folder / f"{figure['name']}.png")} for figure in told["figures"]]
        sets.append({**told, "name": name, "figures": drawn})
    return sets


def picture(path: Path) -> str:
    """Return a PNG as a data URL. Raises FileNotFoundError if a stage before this one did not draw it."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def page(study: str, params: Params) -> str:
    """Return the page. Raises ValueError for an unknown study, FileNotFoundError for a missing part."""
    folder = REPORTS / study
    kinds = params.studies[study].tables
    texts = {kind: (folder / TABLES / f"{kind}.md").read_text(encoding="utf-8") for kind in kinds}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    names, settings = settings_table(study, params)
    return environment.get_template("report.html.j2").render(
        study=study,
        title=params.studies[study].title,
        findings=findings(pd.read_csv(folder / TABLES / "decoders.csv")) if "decoders" in kinds else [],
        tables={kind: read_markdown(text) for kind, text in texts.items()},
        notes=list(dict.fromkeys(note for text in texts.values() for note in notes(text))),
        figures=figures(study, params),
        searches=searches(study, params),
        names=names,
        settings=settings,
    )


def notes(text: str) -> list[str]:
    """Return the notes below a table."""
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "STUDY", "a key of `studies` in params.yaml", argv)
    params = load_params()
    find(name, params.studies, "study")
    path = REPORTS / name / "index.html"
    write_whole(path, page(name, params))
    print(path)


if __name__ == "__main__":
    run_stage(main)
