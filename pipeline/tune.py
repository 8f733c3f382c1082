"""Search alpha and lr of a run with Optuna, on validation images: reports/<study>/tuning/<name>/.

    python -m pipeline.tune digits

One trial after the other, deterministic; an interrupted search goes on to the trials that an unbroken one would have
had, whenever it was killed. CAPSNET_OPTUNA_STORAGE, any Optuna storage URL, replaces the journal file in the scratch
folder.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from capsnet.files import whole_file, write_whole
from pipeline.reporting.search_method import decided
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.device import computed, configure_torch
from pipeline.runtime.paths import REPORTS, TUNING, csv_text
from pipeline.runtime.prepared import Prepared, read_prepared
from pipeline.runtime.scratch import fingerprint, owner, scratch
from pipeline.runtime.stores import OPTUNA, first_line, masked
from pipeline.settings.params import Params, find, load_params
from pipeline.settings.runs import Run
from pipeline.settings.searches import Median, Tune
from pipeline.tracking.recorder import TrackedRun, tracked

if TYPE_CHECKING:
    from capsnet.networks.capsnet import NetworkConfig

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
RLOSS = "val_rloss"
DONE = "finished"  # noted in a study whose results are written


class Search(NamedTuple):
    """What the trials of one search have in common."""

    name: str
    entry: Tune
    run: Run
    seed: int
    params: Params
    data: Prepared
    model: "NetworkConfig"
    owner: str
    tags: Mapping[str, object]


def run_search(search: Search, study: optuna.Study, parent: TrackedRun) -> list[FrozenTrial]:
    """Run trials until the study has as many finished ones as asked for, and return those in order.

    What a trial tries follows from the finished ones alone: the sampler is made anew for each (a fixed seed would
    repeat its first draws after an interruption), and nothing waits in the study. A trial that a killed process left
    running is told FAIL and made again.
    """
    for left in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
    while (done := len(study.get_trials(states=FINISHED))) < search.entry.trials:
        study.sampler = sampler(search, done)
        _run_trial(search, study, done, parent)
    trials: list[FrozenTrial] = study.get_trials(states=FINISHED)
    return trials


def sampler(search: Search, done: int) -> optuna.samplers.BaseSampler:
    """Return what chooses the values of the next trial after `done` finished ones."""
    # The first is the run as it is: the others have to beat it.
    fixed = {"alpha": search.run.alpha, "lr": search.run.lr} if done == 0 else {}
    tpe = optuna.samplers.TPESampler(n_startup_trials=search.entry.sampler.startup_trials, seed=search.seed + done)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(fixed, tpe)


def open_study(search: Search, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """Open the study to go on with: one that finished earlier stays as it is, and the next number is taken."""
    pruner = search.entry.pruner
    chosen = (
        optuna.pruners.MedianPruner(n_startup_trials=pruner.startup_trials, n_warmup_steps=pruner.warmup_epochs)
        if isinstance(pruner, Median)
        else optuna.pruners.NopPruner()
    )
    number = 1
    while True:
        name = f"{search.name}-{search.owner}-{search.tags['fingerprint']}-{number}"
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", pruner=chosen, load_if_exists=True
        )
        if DONE not in study.user_attrs:
            return study
        number += 1


@contextmanager
def opened_storage(journal: Path) -> Iterator[optuna.storages.BaseStorage]:
    """Yield the storage that CAPSNET_OPTUNA_STORAGE names, or a journal that this process alone writes.

    Raises ValueError if the storage cannot be opened, or fails later.
    """
    url = os.environ.get(OPTUNA)
    if not url:
        mend_journal(journal)
        yield optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
        return
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = optuna.storages.get_storage(url)
    except Exception as error:  # whatever SQLAlchemy, a driver or the server may raise
        raise ValueError(
            f"{OPTUNA}: {masked(url)} cannot be used: {first_line(error)}; expected the URL of an Optuna storage, "
            "sqlite:///optuna.db for instance"
        ) from error
    try:
        yield storage
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise ValueError(
            f"{OPTUNA}: {masked(url)} failed: {first_line(error)}; the same command goes on once it works again"
        ) from error
    finally:
        storage.remove_session()


def mend_journal(journal: Path) -> None:
    """Take away what a killed process left: a lock that Optuna would wait for, and a last line that is not whole."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if journal.is_file():
        content = journal.read_bytes()
        if (whole := content[: content.rfind(b"\n") + 1]) != content:
            write_whole(journal, whole)


def _run_trial(search: Search, study: optuna.Study, number: int, parent: TrackedRun) -> None:
    from capsnet.training.loop import train

    trial = study.ask()
    alpha = trial.suggest_float("alpha", *search.entry.alpha, log=True)
    lr = trial.suggest_float("lr", *search.entry.lr, log=True)
    seed = search.seed
    config = replace(
        search.run.training(), alpha=alpha, lr=lr, epochs=search.entry.epochs, validation=search.entry.validation
    )
    settings = {
        **search.run.model_dump(),
        "alpha": alpha,
        "lr": lr,
        "epochs": config.epochs,
        "validation": config.validation,
    }
    with tracked(
        search.params.tracking.experiment,
        f"{search.name} trial {number}",
        tags={**search.tags, "kind": "trial", "trial": number, "seed": seed},
        settings={"run": search.entry.run, **settings},
        parent=parent,
        data=search.data.source,
        resume=True,
    ) as child:

        def log(epoch: int, values: Mapping[str, float]) -> None:
            child.log(epoch, values)
            trial.report(values["val_accuracy"], epoch)
            if RLOSS in values:
                trial.set_user_attr(RLOSS, values[RLOSS])
            if epoch < config.epochs and trial.should_prune():
                raise optuna.TrialPruned

        value = None
        try:
            data = search.data
            trained = train(search.model, config, data.images, data.labels, seed, groups=data.groups, log=log)
            value = trained.history[-1]["val_accuracy"]
        except optuna.TrialPruned:
            child.tag({"pruned": "behind the median"})
        except FloatingPointError:  # a rate too high for this network is an answer too
            child.tag({"pruned": "loss not finite"})
    # Told last: a trial whose MLflow run is still open is drawn again.
    if value is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, value)


def best_trial(trials: Sequence[FrozenTrial]) -> tuple[int, FrozenTrial]:
    """Return number and trial with the best validation accuracy; of equals that with the lowest RLoss, or the first.

    Raises ValueError if none finished: the median prunes none before some did, so no loss was finite.
    """
    complete = _complete(trials)
    if not complete:
        raise ValueError(
            f"trials: got {len(trials)} whose loss is not finite, expected one that finishes; lower the bounds of lr, "
            "or the lr of the run, in params.yaml"
        )
    return max(complete, key=lambda entry: (entry[1].value or 0.0, -_rloss(entry[1]), -entry[0]))


def tie(trials: Sequence[FrozenTrial]) -> tuple[list[int], str]:
    """Return the numbers of the trials with the best validation accuracy, and what decided: it, RLoss or the number."""
    _, best = best_trial(trials)
    equal = [(number, trial) for number, trial in _complete(trials) if trial.value == best.value]
    same_rloss = sum(_rloss(trial) == _rloss(best) for _, trial in equal)
    decided_by = "val_accuracy" if len(equal) == 1 else RLOSS if same_rloss == 1 else "trial"
    return [number for number, _ in equal], decided_by


def _complete(trials: Sequence[FrozenTrial]) -> list[tuple[int, FrozenTrial]]:
    return [(number, trial) for number, trial in enumerate(trials) if trial.state == TrialState.COMPLETE]


def _rloss(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get(RLOSS, 0.0))


def best_values(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return what best.yaml says."""
    number, best = best_trial(trials)
    tied, decided_by = tie(trials)
    return {
        **{key: best.params[key] for key in ("alpha", "lr")},
        "val_accuracy": best.value,
        **{key: value for key, value in best.user_attrs.items() if key == RLOSS},
        "trial": number,
        "trials": len(trials),
        "tied": tied,
        "decided_by": decided_by,
    }


def write_results(folder: Path, trials: Sequence[FrozenTrial]) -> None:
    """Write best.yaml, trials.csv and Optuna's four plots."""
    best = best_values(trials)
    write_whole(folder / "best.yaml", "".join(f"{key}: {value!r}\n" for key, value in best.items()))
    rows = [
        {
            "trial": number,
            "state": trial.state.name.lower(),
            **{key: trial.params[key] for key in ("alpha", "lr")},
            "epochs": len(trial.intermediate_values),
            "val_accuracy": trial.intermediate_values.get(max(trial.intermediate_values, default=0)),
            RLOSS: trial.user_attrs.get(RLOSS),
        }
        for number, trial in enumerate(trials)
    ]
    write_whole(folder / "trials.csv", csv_text(rows))
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    _plot(study, folder)


def _plot(study: optuna.Study, folder: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    drawn: dict[str, Callable[[], Any]] = {
        "history": lambda: plots.plot_optimization_history(study, target_name="validation accuracy (%)"),
        "parallel": lambda: plots.plot_parallel_coordinate(study, target_name="validation accuracy (%)"),
        "contour": lambda: plots.plot_contour(study, target_name="validation accuracy (%)"),
        "importance": lambda: plots.plot_param_importances(study, target_name="validation accuracy (%)"),
    }
    with warnings.catch_warnings(), pyplot.style.context("default"):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for name, draw in drawn.items():
            figure = draw().figure
            with whole_file(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
            pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "SEARCH", "a key of `tune` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.tune, "search")
    run = params.runs[entry.run]
    hardware = configure_torch(run.device, run.threads)
    run = computed(name, run, hardware)
    data = read_prepared(run.dataset, "train", hardware.device)
    seed = params.seeds_of(run)[0]
    facts = (entry.model_dump(), run.model_dump(), seed, data.source.digest)
    key = fingerprint(*facts, f"optuna {optuna.__version__}")
    folder = REPORTS / entry.study / TUNING / name
    tags = {"stage": "tune", "run": name, "output": folder.resolve(), "fingerprint": key, "device": hardware.words}
    search = Search(name, entry, run, seed, params, data, run.model(*data.shape), owner(folder), tags)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with (
        scratch("tune", name, folder, key) as working,
        opened_storage(working / "journal.log") as storage,
        tracked(
            params.tracking.experiment,
            f"tune {name}",
            tags={**tags, "kind": "run"},
            settings={"run": entry.run, **entry.model_dump()},
            data=data.source,
            resume=True,
        ) as parent,
    ):
        study = open_study(search, storage)
        trials = run_search(search, study, parent)
        write_results(folder, trials)
        best = best_values(trials)
        parent.log(0, {"val_accuracy": best["val_accuracy"]})
        parent.attach(*sorted(folder.iterdir()))
        study.set_user_attr(DONE, True)
    if said := decided(best):
        print(said)
    print(", ".join(f"{key}: {best[key]!r}" for key in ("alpha", "lr", "val_accuracy", "trial")), f"({name})")


if __name__ == "__main__":
    run_stage(main)
