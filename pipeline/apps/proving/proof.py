"""The proof for one run: train and score with the code of then and of now, and compare."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.apps.proving.commits import checked_out
from pipeline.apps.proving.differences import number_of_steps, number_of_tensors, of_metrics, of_rows, of_tensors
from pipeline.apps.proving.locked import Entry, Locked
from pipeline.apps.proving.trial import (
    Side,
    StageFailed,
    planned,
    put_data,
    put_settings,
    score,
    train,
    trained_here,
)
from pipeline.runtime.paths import MODELS, model_name, state_name
from pipeline.settings.params import PARAMS


class Different(Exception):
    """Where the code of now does something else than that of then."""


def prove(run: str, stages: Sequence[Locked], commits: Sequence[str], now: Side, steps: int, images: int) -> str:
    """Train and score with both codes; return what was compared. Raises Different at the first difference.

    `stages` are those that dvc.lock is to keep: without `evaluate` the code of now only has to load and score models of
    then. Raises StageFailed if the code of then does not run here.
    """
    settings = _settings(stages[0].then)
    own = settings[f"runs.{run}"]
    plan = planned(run, own, own.get("seeds") or settings["seeds"], steps, images)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="capsnet-prove-")))
        then: dict[str, Side] = {}  # by commit: most often one
        for stage, commit in zip(stages, commits, strict=True):
            if commit not in then:
                project = stack.enter_context(checked_out(commit, folder / f"then-{len(then)}"))
                then[commit] = Side(f"the code of {commit[:7]}", project, folder)
            put_settings(_settings(stage.then), then[commit].project)
        ours = Side("the code of now", now.project, folder)
        for side in (*then.values(), ours):
            put_data(own["dataset"], plan, side.project)
        theirs = train(then[commits[0]], plan, folder / "train-then")
        with _different_where_it_fails():
            mine = train(ours, plan, folder / "train-now")
        state = state_name(plan.seed)
        for other, here in zip(theirs, mine, strict=True):
            after = f"after step {number_of_steps(other / state)}: "
            _require_equal(
                ("", of_rows(other / "history.csv", here / "history.csv", "epoch")),
                (after, of_tensors(other / state, here / state)),
                (f"{after}model: ", of_tensors(other / model_name(plan.seed), here / model_name(plan.seed))),
            )
        models = [theirs[-1], *trained_here(run)]
        with _different_where_it_fails():
            ours_scored = score(ours, run, models, folder / "scores-now")
        if len(stages) > 1:
            scored = score(then[commits[-1]], run, models, folder / "scores-then")
            for made, other, here in zip(("the first steps", MODELS / run), scored, ours_scored, strict=False):
                where = f"scores of {made}: "
                _require_equal(
                    (where, of_metrics(other / f"{run}.json", here / f"{run}.json")),
                    (where, of_rows(other / f"{run}-confusion.csv", here / f"{run}-confusion.csv", "seed")),
                )
        return (
            f"seed {plan.seed}, {number_of_steps(theirs[-1] / state)} steps in {plan.epochs} epochs, resumed after "
            f"epoch {plan.stop}; {number_of_tensors(theirs[-1] / state)} tensors"
            + (f"; scores of {len(plan.test)} images" if len(stages) > 1 else "; no scores")
            + (f", of the models in {MODELS / run} too" if len(stages) > 1 and len(models) > 1 else "")
        )


def _settings(entry: Entry) -> Mapping[str, Any]:
    return dict(entry.get("params", {}).get(str(PARAMS), {}))


def _require_equal(*differences: tuple[str, str]) -> None:
    """Raise Different with every difference that there is, and where."""
    if found := [where + difference for where, difference in differences if difference]:
        raise Different("; ".join(found))


@contextmanager
def _different_where_it_fails() -> Iterator[None]:
    try:
        yield
    except StageFailed as error:
        raise Different(str(error)) from error
