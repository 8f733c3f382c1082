"""The proof for one run: train and score it with the old code and with the present code, and compare."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.apps.proving.commits import checked_out
from pipeline.apps.proving.differences import (
    metric_difference,
    number_of_steps,
    number_of_tensors,
    row_difference,
    tensor_difference,
)
from pipeline.apps.proving.lock_file import LockedStage, LockEntry
from pipeline.apps.proving.short_run import (
    ShortRun,
    Side,
    StageFailed,
    choose_short_run,
    put_data,
    put_settings,
    score,
    train,
    trained_folders,
)
from pipeline.runtime.paths import MODELS, model_name, state_name
from pipeline.settings.params import PARAMS


class Different(Exception):
    """The present code does something else than the old code; the message says where."""


def prove(run: str, stages: Sequence[LockedStage], commits: Sequence[str], now: Path, steps: int, images: int) -> str:
    """Train and score a run with both codes, and return in words what was compared.

    Args:
        run: The run.
        stages: The stages that dvc.lock is to keep. Without `evaluate` the present code only has to load the models of
            the old code and score them.
        commits: The commit with the old code of each stage.
        now: A folder with the present code.
        steps: The least number of training steps.
        images: The largest number of test images.

    Raises Different at the first difference, and StageFailed if the old code does not run here.
    """
    settings = _settings(stages[0].then)
    own = settings[f"runs.{run}"]
    short = choose_short_run(run, own, own.get("seeds") or settings["seeds"], steps, images)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="capsnet-prove-")))
        ours = Side("the present code", now, folder)
        old: dict[str, Side] = {}  # by commit: most often one
        for stage, commit in zip(stages, commits, strict=True):
            if commit not in old:
                project = stack.enter_context(checked_out(commit, folder / f"then-{len(old)}"))
                old[commit] = Side(f"the code of {commit[:7]}", project, folder)
            put_settings(_settings(stage.then), old[commit].project)
        for side in (*old.values(), ours):
            put_data(own["dataset"], short, side.project)
        trained = _compare_trainings(short, old[commits[0]], ours, folder)
        models = [trained, *trained_folders(run)]
        scorer = old[commits[-1]] if len(stages) > 1 else None
        _compare_scores(run, models, scorer, ours, folder)
        return _in_words(short, trained / state_name(short.seed), models, scored=scorer is not None)


def _compare_trainings(short: ShortRun, old: Side, ours: Side, folder: Path) -> Path:
    """Train with both codes; return the folder that the old code trained last. Raises Different."""
    theirs = train(old, short, folder / "train-then")
    with _failure_is_a_difference():
        mine = train(ours, short, folder / "train-now")
    state, model = state_name(short.seed), model_name(short.seed)
    for then, now in zip(theirs, mine, strict=True):
        after = f"after step {number_of_steps(then / state)}: "
        _require_equal(
            ("", row_difference(then / "history.csv", now / "history.csv", "epoch")),
            (after, tensor_difference(then / state, now / state)),
            (f"{after}model: ", tensor_difference(then / model, now / model)),
        )
    return theirs[-1]


def _compare_scores(run: str, models: Sequence[Path], old: Side | None, ours: Side, folder: Path) -> None:
    """Score models with both codes, or only with the present code if there is no old one. Raises Different."""
    with _failure_is_a_difference():
        mine = score(ours, run, models, folder / "scores-now")
    if old is None:
        return
    theirs = score(old, run, models, folder / "scores-then")
    for subject, then, now in zip(("the first steps", MODELS / run), theirs, mine, strict=False):
        where = f"scores of {subject}: "
        metrics, confusion = f"{run}.json", f"{run}-confusion.csv"
        _require_equal(
            (where, metric_difference(then / metrics, now / metrics)),
            (where, row_difference(then / confusion, now / confusion, "seed")),
        )


def _in_words(short: ShortRun, state: Path, models: Sequence[Path], *, scored: bool) -> str:
    """Return what was compared."""
    words = (
        f"seed {short.seed}, {number_of_steps(state)} steps in {short.epochs} epochs, resumed after epoch {short.stop};"
        f" {number_of_tensors(state)} tensors"
    )
    if not scored:
        return f"{words}; no scores"
    words += f"; scores of {len(short.test)} images"
    return f"{words}, also of the models in {MODELS / short.run}" if len(models) > 1 else words


def _settings(entry: LockEntry) -> Mapping[str, Any]:
    return dict(entry.get("params", {}).get(str(PARAMS), {}))


def _require_equal(*differences: tuple[str, str]) -> None:
    """Raise Different with all differences, if there are any; each comes with the words for its place."""
    if found := [where + difference for where, difference in differences if difference]:
        raise Different("; ".join(found))


@contextmanager
def _failure_is_a_difference() -> Iterator[None]:
    """Raise Different if a stage of the present code fails: the old code did not."""
    try:
        yield
    except StageFailed as error:
        raise Different(str(error)) from error
