"""The proof for one run: train and score with the code of then and of now, and compare."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.config import PARAMS
from pipeline.outputs import MODELS, model_name, state_name
from pipeline.proving.commits import checked_out
from pipeline.proving.differences import number_of_steps, number_of_tensors, of_metrics, of_rows, of_tensors
from pipeline.proving.locked import Entry, Locked
from pipeline.proving.trial import (
    Side,
    StageFailed,
    planned,
    put_data,
    put_settings,
    score,
    train,
    trained_here,
)


class Different(Exception):
    """Where the code of now does something else than that of then."""


def prove(run: str, stages: Sequence[Locked], commits: Sequence[str], now: Side, steps: int, images: int) -> str:
    """Train and score with both codes; return what was compared. Raises Different at the first difference."""
    settings = _settings(stages[0].then)
    own = settings[f"runs.{run}"]
    plan = planned(run, own, own.get("seeds") or settings["seeds"], steps, images)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="capsnet-prove-")))
        sides = []
        for number, (stage, commit) in enumerate(zip(stages, commits, strict=True)):
            project = stack.enter_context(checked_out(commit, folder / f"then-{number}"))
            put_settings(_settings(stage.then), project)
            sides.append(Side(f"the code of {commit[:7]}", project, folder))
        ours = Side("the code of now", now.project, folder)
        for side in (*sides, ours):
            put_data(own["dataset"], plan, side.project)
        theirs = train(sides[0], plan, folder / "train-then")
        with _different_where_it_fails():
            mine = train(ours, plan, folder / "train-now")
        state = state_name(plan.seed)
        for then, here in zip(theirs, mine, strict=True):
            _require_equal(of_rows(then / "history.csv", here / "history.csv", "epoch"))
            after = f"after step {number_of_steps(then / state)}"
            _require_equal(of_tensors(then / state, here / state), f"{after}: ")
            _require_equal(of_tensors(then / model_name(plan.seed), here / model_name(plan.seed)), f"{after}: model: ")
        models = [theirs[-1], *trained_here(run)]
        scores = score(sides[-1], run, models, folder / "scores-then")
        with _different_where_it_fails():
            again = score(ours, run, models, folder / "scores-now")
        names = ("the first steps", MODELS / run)
        for name, then, here in zip(names, scores, again, strict=False):
            where = f"scores of {name}: "
            _require_equal(of_metrics(then / f"{run}.json", here / f"{run}.json"), where)
            _require_equal(of_rows(then / f"{run}-confusion.csv", here / f"{run}-confusion.csv", "seed"), where)
        return (
            f"seed {plan.seed}, {number_of_steps(theirs[-1] / state)} steps in {plan.epochs} epochs, resumed after "
            f"epoch {plan.stop}; {number_of_tensors(theirs[-1] / state)} tensors; scores of {len(plan.test)} images"
            + (f", of the models in {MODELS / run} too" if len(models) > 1 else "")
        )


def _settings(entry: Entry) -> Mapping[str, Any]:
    return dict(entry.get("params", {}).get(str(PARAMS), {}))


def _require_equal(difference: str, where: str = "") -> None:
    if difference:
        raise Different(f"{where}{difference}")


@contextmanager
def _different_where_it_fails() -> Iterator[None]:
    try:
        yield
    except StageFailed as error:
        raise Different(str(error)) from error
