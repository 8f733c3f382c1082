"""How a search went about it, and how its best trial was decided, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.runtime.paths import TUNED
from pipeline.settings.searches import Median, Tune

DECIDED = {"val_rloss": "the lowest RLoss on them", "trial": "that it came first"}


def method(entry: Tune) -> str:
    """Say which trials a search makes."""
    startup, pruner = entry.sampler.startup_trials, entry.pruner
    ended = (
        f"one that is behind the median of the others at the end of an epoch, from epoch "
        f"{max(1, pruner.warmup_epochs)} on, is given up once {pruner.startup_trials} are complete"
        if isinstance(pruner, Median)
        else "none is given up"
    )
    return f"the run's own values first, random ones up to the first {startup}, then those of TPE; {ended}"


def searched(runs: Sequence[str], searches: Mapping[str, Tune]) -> list[str]:
    """Say of each tuned run among `runs` where its alpha and lr come from."""
    entries = {name + TUNED: entry for name, entry in searches.items()}
    return [
        f"{run}: {entry.run} with the alpha and lr of the best of {entry.trials} trials of {entry.epochs} epochs on "
        f"held-out training images: {method(entry)}."
        for run, entry in ((run, entries[run]) for run in runs if run in entries)
    ]


def decided(best: Mapping[str, Any]) -> str:
    """Say which trials share the best accuracy and what decided between them; nothing if there is no such tie."""
    if len(best["tied"]) < 2:
        return ""
    *others, last = map(str, best["tied"])
    return (
        f"Trials {', '.join(others)} and {last} tie at {best['val_accuracy']:.2f} % of the held-out images; "
        f"{DECIDED[best['decided_by']]} decided for trial {best['trial']}."
    )
