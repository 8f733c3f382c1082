"""The outcome of a search: its best trial, how that was decided, and the files with both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from capsnet.files import write_whole
from pipeline.drawing.search_plots import save_plots
from pipeline.runtime.paths import csv_text
from pipeline.searching.trial import RLOSS
from pipeline.settings.searching import Tune

CHOSEN = ("alpha", "lr")


def best_trial(trials: Sequence[FrozenTrial]) -> tuple[int, FrozenTrial]:
    """Return the number of the best trial, and the trial.

    The best has the highest validation accuracy; of equals, the lowest reconstruction loss; of equals, the lowest
    number. Raises ValueError if no trial was completed. In that case no trial had a finite loss, because the median
    prunes none before some are completed.
    """
    complete = _complete(trials)
    if not complete:
        raise ValueError(
            f"trials: got {len(trials)} whose loss is not finite, expected one that finishes; lower the bounds of lr, "
            "or the lr of the run, in params.yaml"
        )
    return max(complete, key=lambda entry: (entry[1].value or 0.0, -_rloss(entry[1]), -entry[0]))


def tie(trials: Sequence[FrozenTrial]) -> tuple[list[int], str]:
    """Return the numbers of the trials with the highest validation accuracy, and what decided between them.

    That is `val_accuracy` if there is one such trial, else `val_rloss`, or `trial`: the lowest number.
    """
    _, best = best_trial(trials)
    equal = [(number, trial) for number, trial in _complete(trials) if trial.value == best.value]
    same_rloss = sum(_rloss(trial) == _rloss(best) for _, trial in equal)
    decided_by = "val_accuracy" if len(equal) == 1 else RLOSS if same_rloss == 1 else "trial"
    return [number for number, _ in equal], decided_by


def best_values(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return the contents of best.yaml."""
    number, best = best_trial(trials)
    tied, decided_by = tie(trials)
    return {
        **{key: best.params[key] for key in CHOSEN},
        "val_accuracy": best.value,
        **{key: value for key, value in best.user_attrs.items() if key == RLOSS},
        "trial": number,
        "trials": len(trials),
        "tied": tied,
        "decided_by": decided_by,
    }


def write_results(folder: Path, trials: Sequence[FrozenTrial], entry: Tune) -> None:
    """Write best.yaml, trials.csv and the four plots."""
    best = best_values(trials)
    write_whole(folder / "best.yaml", "".join(f"{key}: {value!r}\n" for key, value in best.items()))
    rows = [
        {
            "trial": number,
            "state": trial.state.name.lower(),
            **{key: trial.params[key] for key in CHOSEN},
            "epochs": len(trial.intermediate_values),
            "val_accuracy": trial.intermediate_values.get(max(trial.intermediate_values, default=0)),
            RLOSS: trial.user_attrs.get(RLOSS),
        }
        for number, trial in enumerate(trials)
    ]
    write_whole(folder / "trials.csv", csv_text(rows))
    save_plots(pd.DataFrame(rows), entry, folder)


def _complete(trials: Sequence[FrozenTrial]) -> list[tuple[int, FrozenTrial]]:
    """Return the completed trials with their numbers."""
    return [(number, trial) for number, trial in enumerate(trials) if trial.state == TrialState.COMPLETE]


def _rloss(trial: FrozenTrial) -> float:
    return float(trial.user_attrs.get(RLOSS, 0.0))
