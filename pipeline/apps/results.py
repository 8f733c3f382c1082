"""Make tables, figures, pages and documents from the results that exist, without training; list what is missing.

    python -m pipeline.apps.results            (every study)
    python -m pipeline.apps.results paper
    python -m pipeline.apps.results paper --draw      (draw existing figures again)

A study gets its tables and its page even if some of its runs are not trained; its tables then say "not run". Figures
are drawn if there are none yet, or if a model is newer than they are, provided that there is a network: in models/,
otherwise in published/. All other figures stay as they are; the page leaves out those that do not exist, and says so.

The stages tabulate, compare, draw, separate and report make the same files with the same code. But this command works
without DVC and leaves dvc.lock unchanged. So `dvc status` still lists what was never trained, and for a study with gaps
also its tables and its page as changed; `dvc repro report@paper` makes all of it, trainings included. If nothing is
missing, the bytes are those of `dvc repro`, and `dvc status` is silent.
"""

from collections.abc import Callable, Sequence

from pipeline import compare, draw, report, separate
from pipeline.apps import readme
from pipeline.reporting.figures_shown import FigureSet, figure_sets
from pipeline.reporting.gaps import missing
from pipeline.reporting.tables import write
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, models_in
from pipeline.runtime.prepared import DATA
from pipeline.runtime.weights import can_be_drawn
from pipeline.scoring.compared import write_missing
from pipeline.settings.params import Params, find, load_params

DRAWS: dict[str, Callable[[Sequence[str]], None]] = {  # by stage: what draws its figures
    "compare": compare.main,
    "draw": draw.main,
    "separate": separate.main,
}
FEWEST_NETWORKS = {"compare": 2, "draw": 1, "separate": 1}  # runs that need a network, by stage


def make(study: str, params: Params, again: bool) -> None:
    """Make what can be made of a study. With `again`, draw existing figures once more."""
    write_missing(study)
    for kind in params.studies[study].tables:
        write(f"{study}-{kind}", params)
    for drawn in figure_sets(study, params):
        if not lacking(drawn) and (again or outdated(drawn)):
            DRAWS[drawn.stage]([drawn.name])
    report.main([study])


def lacking(drawn: FigureSet) -> str:
    """Return what must exist before figures can be drawn, a network, scores or images; empty if nothing is lacking."""
    available = [run for run in drawn.runs if can_be_drawn(run)]
    metrics = REPORTS / drawn.study / METRICS
    endings = (".json", "-history.csv", "-confusion.csv")
    if len(available) < FEWEST_NETWORKS[drawn.stage]:
        return "there is no network"
    if unscored := [run for run in available if not all((metrics / f"{run}{end}").is_file() for end in endings)]:
        return f"there are no scores of {', '.join(unscored)}"
    if not all((DATA / f"{drawn.dataset}.{suffix}").is_file() for suffix in ("json", "npz")):
        return f"only the images are missing: run `dvc repro prepare@{drawn.dataset}`, then this command again"
    return ""


def outdated(drawn: FigureSet) -> bool:
    """Tell whether figures do not exist, or are older than a model that was trained here."""
    if not drawn.listing.is_file():
        return True
    made = drawn.listing.stat().st_mtime
    return any(path.stat().st_mtime > made for run in drawn.runs for path in models_in(MODELS / run).values())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("studies", metavar="STUDY", nargs="*", help="keys of `studies` in params.yaml [all]")
    made.add_argument("--draw", action="store_true", help="draw existing figures again")
    arguments = made.parse_args(argv)
    params = load_params()
    for study in arguments.studies:
        find(study, params.studies, "study")
    studies = arguments.studies or [*params.studies]
    for study in studies:
        make(study, params, arguments.draw)
    readme.main([])
    for study in studies:
        gaps = missing(study, params)
        print(f"{study}: {f'{len(gaps)} missing' if gaps else 'nothing is missing'}")
        reasons = {drawn.command: lacking(drawn) for drawn in figure_sets(study, params)}
        for gap in gaps:
            reason = f" ({reasons[gap.command]})" if gap.command in reasons else ""
            print(f"  {gap.kind + ': ' + gap.name:<36} {gap.command}{reason}")


if __name__ == "__main__":
    run_stage(main)
