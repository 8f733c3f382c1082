"""Search alpha and lr of a run with Optuna, on validation images: reports/<study>/tuning/<name>/.

    python -m pipeline.tune digits

One trial after the other, deterministic; an interrupted search goes on to the trials that an unbroken one would have
had. CAPSNET_OPTUNA_STORAGE, any Optuna storage URL, replaces the journal file in the scratch folder.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from capsnet.files import whole_file, write_whole
from pipeline.config import Params, Tune, find, load_params
from pipeline.data import Prepared, read_prepared
from pipeline.device import computed, configure_torch
from pipeline.outputs import REPORTS, TUNING, csv_text
from pipeline.scratch import fingerprint, scratch
from pipeline.settings.runs import Run
from pipeline.stage import name_argument, run_stage
from pipeline.tracking import TrackedRun, tracked

if TYPE_CHECKING:
    from capsnet.model import NetworkConfig

STORAGE = "CAPSNET_OPTUNA_STORAGE"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
RLOSS = "val_rloss"


class Search(NamedTuple):
    """What the trials of one search have in common."""

    name: str
    entry: Tune
    run: Run
    seed: int
    params: Params
    data: Prepared
    model: "NetworkConfig"
    tags: Mapping[str, object]


def run_search(search: Search, storage: optuna.storages.BaseStorage | str, parent: TrackedRun) -> list[FrozenTrial]:
    """Run trials until the study has as many finished ones as asked for, and return those in order.

    The sampler is made anew for each trial from the number of finished ones: a fixed seed would repeat its first draws
    after an interruption. A trial that a killed process left running is told FAIL and drawn again.
    """
    study = _open_study(f"{search.name}-{search.tags['fingerprint']}", storage, search.entry.epochs)
    for left in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(left.number, state=TrialState.FAIL)
    while (done := len(study.get_trials(states=FINISHED))) < search.entry.trials:
        if done == 0:  # the first trial is the run as it is: the others have to beat it
            study.enqueue_trial({"alpha": search.run.alpha, "lr": search.run.lr}, skip_if_exists=True)
        study.sampler = optuna.samplers.TPESampler(seed=search.seed + done)
        _run_trial(search, study, done, parent)
    study.set_user_attr("finished", True)
    trials: list[FrozenTrial] = study.get_trials(states=FINISHED)
    return trials


def _open_study(name: str, storage: optuna.storages.BaseStorage | str, epochs: int) -> optuna.Study:
    """Open the study to go on with: one that finished earlier stays as it is, and the next number is taken."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=epochs // 2)
    number = 1
    while True:
        study = optuna.create_study(
            storage=storage, study_name=f"{name}-{number}", direction="maximize", pruner=pruner, load_if_exists=True
        )
        if "finished" not in study.user_attrs:
            return study
        number += 1


def _run_trial(search: Search, study: optuna.Study, number: int, parent: TrackedRun) -> None:
    from capsnet.training import train

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
    """Return number and trial with the best validation accuracy; of equal ones that with the lowest RLoss.

    Raises ValueError if none finished: the median prunes none before some did, so no loss was finite.
    """
    complete = [(number, trial) for number, trial in enumerate(trials) if trial.state == TrialState.COMPLETE]
    if not complete:
        raise ValueError(
            f"trials: got {len(trials)} whose loss is not finite, expected one that finishes; lower the bounds of lr, "
            "or the lr of the run, in params.yaml"
        )
    return max(complete, key=lambda entry: (entry[1].value or 0.0, -entry[1].user_attrs.get(RLOSS, 0.0), -entry[0]))


def write_results(folder: Path, search: Search, trials: Sequence[FrozenTrial]) -> None:
    """Write best.yaml, trials.csv and Optuna's four plots."""
    number, best = best_trial(trials)
    lines = {
        **{key: best.params[key] for key in ("alpha", "lr")},
        "val_accuracy": best.value,
        **{key: value for key, value in best.user_attrs.items() if key == RLOSS},
        "trial": number,
        "trials": len(trials),
    }
    write_whole(folder / "best.yaml", "".join(f"{key}: {value!r}\n" for key, value in lines.items()))
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
    key = fingerprint(entry.model_dump(), run.model_dump(), seed, data.source.digest)
    folder = REPORTS / entry.study / TUNING / name
    tags = {"stage": "tune", "run": name, "output": folder.resolve(), "fingerprint": key, "device": hardware.words}
    search = Search(name, entry, run, seed, params, data, run.model(*data.shape), tags)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with (
        scratch("tune", name, folder, key) as working,
        tracked(
            params.tracking.experiment,
            f"tune {name}",
            tags={**tags, "kind": "run"},
            settings={"run": entry.run, **entry.model_dump()},
            data=data.source,
            resume=True,
        ) as parent,
    ):
        journal = optuna.storages.journal.JournalFileBackend(str(working / "journal.log"))
        trials = run_search(search, os.environ.get(STORAGE) or optuna.storages.JournalStorage(journal), parent)
        write_results(folder, search, trials)
        parent.log(0, {"val_accuracy": best_trial(trials)[1].value or 0.0})
        parent.attach(*sorted(folder.iterdir()))
    print((folder / "best.yaml").read_text(encoding="utf-8").replace("\n", ", ").rstrip(", "), f"({name})")


if __name__ == "__main__":
    run_stage(main)
