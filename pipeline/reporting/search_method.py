"""How a search chose its trials and its best trial, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.runtime.paths import TUNED
from pipeline.settings.searching import Median, Tune

DECIDED = {"val_rloss": "its RLoss is the lowest", "trial": "it came first"}


def method(entry: Tune) -> str:
    """Say which values the trials have, and which trials are stopped early."""
    startup, pruner = entry.sampler.startup_trials, entry.pruner
    chosen = (
        f"The first trial has the run's own values. Trials up to the first {startup} are random, and TPE chooses the "
        "values of the others."
    )
    if not isinstance(pruner, Median):
        return f"{chosen} No trial is stopped early."
    return (
        f"{chosen} Once {pruner.startup_trials} trials are complete, a trial that is below the median of the others "
        f"after epoch {max(1, pruner.warmup_epochs)} or later is stopped."
    )


def searched(runs: Sequence[str], searches: Mapping[str, Tune]) -> list[str]:
    """Say for each tuned run among `runs` where its alpha and lr come from."""
    entries = {name + TUNED: entry for name, entry in searches.items()}
    return [
        f"{run} is {entry.run} with the alpha and lr of the best of {entry.trials} trials, each of at most "
        f"{entry.epochs} epochs, on held-out training images."
        for run, entry in ((run, entries[run]) for run in runs if run in entries)
    ]


def decided(best: Mapping[str, Any]) -> str:
    """Say which trials tie and why one of them is the best; nothing if no trials tie."""
    if len(best["tied"]) < 2:
        return ""
    *others, last = map(str, best["tied"])
    return (
        f"Trials {', '.join(others)} and {last} tie at {best['val_accuracy']:.2f} % of the held-out images; trial "
        f"{best['trial']} was chosen because {DECIDED[best['decided_by']]}."
    )
