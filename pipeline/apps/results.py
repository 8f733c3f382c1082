"""Make tables, pictures, page and README from what there is, without starting a training; say what is missing.

    python -m pipeline.apps.results            (every study)
    python -m pipeline.apps.results paper
    python -m pipeline.apps.results paper --draw      (draw again what is drawn already)

A study whose runs are not all trained has its tables, with "not run" in the place of numbers, and its page. Pictures
are drawn where there are none, or where the models are newer than them, if a network is there: in models/, or else in
published/. Others stay as they are, or are left out of the page, which says so.

The files are those of the stages tabulate, compare, draw, separate and report, made by the same code, but not through
DVC: dvc.lock stays as it is. So `dvc status` goes on to name what was never trained, and names the tables and the page
of a study with gaps as changed too: `dvc repro report@paper` is what makes all of it, trainings included. Where nothing
is missing the bytes are those of `dvc repro`, and `dvc status` has nothing to say.
"""

from collections.abc import Sequence
from importlib import import_module

from pipeline.apps.readme import README
from pipeline.reporting.page import Drawn, drawn_sets, missing
from pipeline.reporting.tables import write
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, models_in
from pipeline.runtime.prepared import DATA
from pipeline.runtime.weights import can_be_drawn
from pipeline.settings.params import Params, find, load_params

FEWEST = {"compare": 2, "draw": 1, "separate": 1}  # runs of which a network must be there


def make(study: str, params: Params, draw: bool) -> None:
    """Make what can be made of a study."""
    for kind in params.studies[study].tables:
        write(f"{study}-{kind}", params)
    for drawn in drawn_sets(study, params):
        if not lacking(drawn) and (draw or outdated(drawn)):
            import_module(f"pipeline.{drawn.stage}").main([drawn.name])
    import_module("pipeline.report").main([study])


def lacking(drawn: Drawn) -> str:
    """Return what drawing wants first here: networks, what their evaluation left, images; nothing if all is there."""
    there = [run for run in drawn.runs if can_be_drawn(run)]
    metrics = REPORTS / drawn.study / METRICS
    left = (".json", "-history.csv", "-confusion.csv")
    if len(there) < FEWEST[drawn.stage]:
        return "no network is there"
    if unscored := [run for run in there if not all((metrics / f"{run}{end}").is_file() for end in left)]:
        return f"the scores of {', '.join(unscored)} are not there"
    if not all((DATA / f"{drawn.dataset}.{suffix}").is_file() for suffix in ("json", "npz")):
        return f"only the images are not there: `dvc repro prepare@{drawn.dataset}`, then this command again"
    return ""


def outdated(drawn: Drawn) -> bool:
    """Say whether pictures are not there, or older than a model that was trained here."""
    if not drawn.listing.is_file():
        return True
    made = drawn.listing.stat().st_mtime
    return any(path.stat().st_mtime > made for run in drawn.runs for path in models_in(MODELS / run).values())


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    made = parser(__doc__)
    made.add_argument("studies", metavar="STUDY", nargs="*", help="keys of `studies` in params.yaml [all]")
    made.add_argument("--draw", action="store_true", help="draw again what is drawn already")
    arguments = made.parse_args(argv)
    params = load_params()
    for study in arguments.studies:
        find(study, params.studies, "study")
    studies = arguments.studies or [*params.studies]
    for study in studies:
        make(study, params, arguments.draw)
    if README.is_file():
        import_module("pipeline.apps.readme").main([])
    for study in studies:
        gaps = missing(study, params)
        print(f"{study}: {f'{len(gaps)} missing' if gaps else 'nothing is missing'}")
        why = {drawn.command: lacking(drawn) for drawn in drawn_sets(study, params)}
        for gap in gaps:
            reason = f" ({why[gap.command]})" if gap.command in why else ""
            print(f"  {gap.kind + ': ' + gap.name:<36} {gap.command}{reason}")


if __name__ == "__main__":
    run_stage(main)
