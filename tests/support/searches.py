"""A search of the tiny project whose trials cost nothing, and what came out of it."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tiny_project import tiny_params, write_params

from pipeline.searching.search import Search
from pipeline.searching.storage import open_storage
from pipeline.searching.study import open_study
from pipeline.searching.trial import run_trials
from pipeline.settings.params import load_params
from pipeline.tracking.recorder import NoRecorder


def train_nothing(model: object, config: Any, *data: object, log: Callable[..., None], **options: object) -> Any:
    """Stand in for a training: the accuracy is computed from alpha, lr and epoch."""
    history = []
    for epoch in range(1, config.epochs + 1):
        off = abs(math.log(config.alpha / 0.002)) + abs(math.log(config.lr / 0.02))
        history.append({"val_accuracy": 100 - 10 * off / epoch, "val_rloss": 1000 * config.alpha / epoch})
        log(epoch, history[-1])
    return SimpleNamespace(history=history)


def made_search(worker: str = "workspace", **changes: Any) -> Search:
    """Return a search of five trials of three epochs, with other settings if `changes` say so."""
    params = tiny_params()
    params["tune"]["toy"] |= {"trials": 5, "epochs": 3, **changes}
    write_params(Path(), params)
    checked = load_params()
    source = SimpleNamespace(digest="d")
    data = SimpleNamespace(images=None, labels=None, groups=None, source=source)
    entry = checked.tune["toy"]
    none: Any = None
    return Search("toy", entry, checked.runs[entry.run], 0, checked, cast("Any", data), none, worker, {})


def searched(search: Search, journal: Path) -> list[tuple[Any, ...]]:
    """Continue the search in a journal, and return its finished trials."""
    with open_storage(journal) as storage:
        trials = run_trials(search, open_study(search, storage.optuna), storage, NoRecorder())
    return [
        (each.number, each.state, each.params, each.value, each.intermediate_values, each.user_attrs) for each in trials
    ]
