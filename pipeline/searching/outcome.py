"""The outcome of a search: its best trial, how that was decided, and the files with both."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from capsnet.files import write_whole
from pipeline.drawing.search_plots import save_plots
from pipeline.runtime.paths import csv_text
from pipeline.searching.claim import WORKER
from pipeline.searching.trial import RLOSS
from pipeline.settings.searching import Tune

CHOSEN = ("alpha", "lr")
TIE_BREAK = "The best trial has the highest val_accuracy; of equal ones the lowest val_rloss, then the lowest number."
Explain = Callable[[Mapping[str, Any]], Sequence[str]]  # says in sentences how the best trial was chosen


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the best trial.

    It has the highest validation accuracy; of equals, the lowest reconstruction loss; of equals, the lowest number.
    Raises ValueError if no trial was completed. In that case no trial had a finite loss, because the median prunes none
    before some are completed.
    """
    complete = _complete(trials)
    if not complete:
        raise ValueError(
            f"trials: got {len(trials)} whose loss is not finite, expected one that finishes; lower the bounds of lr, "
            "or the lr of the run, in params.yaml"
        )
    return max(complete, key=lambda trial: (trial.value or 0.0, -_rloss(trial), -trial.number))


def tie(trials: Sequence[FrozenTrial]) -> tuple[list[int], str]:
    """Return the numbers of the trials with the highest validation accuracy, and what decided between them.

    That is `val_accuracy` if there is one such trial, else `val_rloss`, or `trial`: the lowest number.
    """
    best = best_trial(trials)
    equal = [trial for trial in _complete(trials) if trial.value == best.value]
    same_rloss = sum(_rloss(trial) == _rloss(best) for trial in equal)
    decided_by = "val_accuracy" if len(equal) == 1 else RLOSS if same_rloss == 1 else "trial"
    return [trial.number for trial in equal], decided_by


def workers(study: optuna.Study) -> int:
    """Return how many processes shared the trials; the interrupted ones of one workspace are one."""
    return len({trial.user_attrs.get(WORKER) for trial in study.get_trials(deepcopy=False)})


def best_values(study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return the contents of best.yaml. Trials have the numbers that Optuna gave them."""
    best = best_trial(trials)
    tied, decided_by = tie(trials)
    shared_by = workers(study)
    return {
        **{key: best.params[key] for key in CHOSEN},
        "val_accuracy": best.value,
        **{key: value for key, value in best.user_attrs.items() if key == RLOSS},
        "trial": best.number,
        "trials": len(trials),
        "tied": tied,
        "decided_by": decided_by,
        "study": study.study_name,
        "workers": shared_by,
        "deterministic": shared_by == 1,
    }


def write_results(
    folder: Path, study: optuna.Study, trials: Sequence[FrozenTrial], entry: Tune, explain: Explain
) -> dict[str, Any]:
    """Write best.yaml, trials.csv and the four plots; return the contents of best.yaml."""
    best = best_values(study, trials)
    write_whole(folder / "best.yaml", yaml_text(best, explain(best)))
    rows = [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            **{key: trial.params[key] for key in CHOSEN},
            "epochs": len(trial.intermediate_values),
            "val_accuracy": trial.intermediate_values.get(max(trial.intermediate_values, default=0)),
            RLOSS: trial.user_attrs.get(RLOSS),
        }
        for trial in trials
    ]
    write_whole(folder / "trials.csv", csv_text(rows))
    save_plots(pd.DataFrame(rows), entry, folder)
    return best


def yaml_text(best: Mapping[str, Any], sentences: Sequence[str]) -> str:
    """Return best.yaml: sentences about how the best trial was chosen, as comments, and the values."""
    values = {key: str(value).lower() if isinstance(value, bool) else repr(value) for key, value in best.items()}
    lines = [*(f"# {sentence}" for sentence in (TIE_BREAK, *sentences)), *(f"{k}: {v}" for k, v in values.items())]
    return "".join(f"{line}\n" for line in lines)


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


def _rloss(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get(RLOSS, 0.0))
