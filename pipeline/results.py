"""Make tables, pictures, page and README from what there is, without starting a training; say what is missing.

    python -m pipeline.results            (every study)
    python -m pipeline.results paper
    python -m pipeline.results paper --draw      (draw again what is drawn already)

A study whose runs are not all trained has its tables, with "not run" in the place of numbers, and its page. Pictures
are drawn where there are none, or where the models are newer than them, if a network is there: in models/, or else in
published/. Others stay as they are, or are left out of the page, which says so.

The files are those of the stages tables, compare, figures, pairs and report, made by the same code, but not through
DVC: dvc.lock stays as it is. So `dvc status` goes on to name what was never trained, and names the tables and the page
of a study with gaps as changed too: `dvc repro report@paper` is what makes all of it, trainings included. Where nothing
is missing the bytes are those of `dvc repro`, and `dvc status` has nothing to say.
"""

from collections.abc import Sequence
from importlib import import_module

from pipeline.config import Params, find, load_params
from pipeline.data import DATA
from pipeline.outputs import MODELS, REPORTS, models_in
from pipeline.published import can_be_drawn
from pipeline.readme import README
from pipeline.reporting.page import Drawn, drawn_sets, missing
from pipeline.stage import parser, run_stage
from pipeline.tables import write

FEWEST = {"compare": 2, "figures": 1, "pairs": 1}  # runs of which a network must be there


def make(study: str, params: Params, draw: bool) -> None:
    """Make what can be made of a study."""
    for kind in params.studies[study].tables:
        write(f"{study}-{kind}", params)
    for drawn in drawn_sets(study, params):
        if able(drawn) and (draw or outdated(drawn)):
            import_module(f"pipeline.{drawn.stage}").main([drawn.name])
    import_module("pipeline.report").main([study])


def able(drawn: Drawn) -> bool:
    """Say whether pictures can be drawn here: networks, what training and scoring left of them, and images."""
    there = [run for run in drawn.runs if can_be_drawn(run)]
    metrics = REPORTS / drawn.study / "metrics"
    scored = all((metrics / f"{run}-{what}.csv").is_file() for run in there for what in ("history", "confusion"))
    images = all((DATA / f"{drawn.dataset}.{suffix}").is_file() for suffix in ("json", "npz"))
    return len(there) >= FEWEST[drawn.stage] and scored and images


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
        import_module("pipeline.readme").main([])
    for study in studies:
        gaps = missing(study, params)
        print(f"{study}: {f'{len(gaps)} missing' if gaps else 'nothing is missing'}")
        for gap in gaps:
            print(f"  {gap.kind}: {gap.name:<24} {gap.command}")


if __name__ == "__main__":
    run_stage(main)
