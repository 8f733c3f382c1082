"""Train a run with the values that a search found: models/<name>-tuned/, as `train` does it.

python -m pipeline.retrain digits
"""

from collections.abc import Sequence

from pipeline.config import Params, check_run, find, load_params, read_yaml
from pipeline.outputs import MODELS, REPORTS, TUNED, TUNING
from pipeline.settings.runs import Run
from pipeline.stage import name_argument, run_stage
from pipeline.train import train_run


def tuned_run(name: str, params: Params) -> Run:
    """Return the run of search `name` with the best values in its best.yaml."""
    search = find(name, params.tune, "search")
    path = REPORTS / search.study / TUNING / name / "best.yaml"
    best = read_yaml(path)
    return check_run({**params.runs[search.run].model_dump(), **{key: best[key] for key in ("alpha", "lr")}}, str(path))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "SEARCH", "a key of `tune` in params.yaml", argv)
    params = load_params()
    train_run(name + TUNED, tuned_run(name, params), params, MODELS / (name + TUNED), stage="retrain")


if __name__ == "__main__":
    run_stage(main)
