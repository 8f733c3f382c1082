"""Which of Optuna's studies a search begins or continues.

A study is named `<search>-<digest>-<number>`. The digest covers all that decides what a trial gives: bounds, sampler,
pruner, run, seed, data, code and versions. It does not cover the number of trials, so more trials continue a study.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import BaseStorage

from capsnet.files import md5
from pipeline.searching.search import Search, pruner

SEARCH = "search"  # attributes of a study: the search it belongs to, what decides its trials,
FACTS = "facts"
WRITTEN = "written"  # and how many trials its results were written with
# Settings of a run or a search that decide nothing about a trial.
NO_MATTER = ("trials", "study", "seeds", "checkpoint_every")
REPLACED = ("epochs", "validation")  # settings of a run that the search has values of its own for
CODE = ("capsnet", "pipeline/searching")


def open_study(search: Search, storage: BaseStorage, *, helps: bool = False) -> optuna.Study:
    """Return the study that the search begins or continues, and print which if it is not the usual one.

    If the results were written with as many trials as are asked for, the search is repeated in a new study.

    Args:
        search: The search.
        storage: Optuna's storage.
        helps: The process shares the trials of a search that another one started. It never repeats a search.

    Raises ValueError for a process that helps if nothing is left to do.
    """
    facts = facts_of(search)
    stem = f"{search.name}-{_digest(facts)}"
    known = optuna.get_all_study_names(storage)
    number = max((_number(name) for name in known if name.rpartition("-")[0] == stem), default=0)
    if number:
        written = optuna.load_study(study_name=f"{stem}-{number}", storage=storage).user_attrs.get(WRITTEN, 0)
        if helps and written >= search.entry.trials:
            raise ValueError(f"{search.name}: got the finished study {stem}-{number}, expected one to help with")
        if not helps and written == search.entry.trials:
            number += 1
        elif written:
            _say(f"{search.name}: continues the study {stem}-{number}, which has results with {written} trials")
    else:
        number = 1
        if reasons := _why_new(search, facts, known, storage):
            _say(f"{search.name}: begins the study {stem}-1: {reasons}")
    study = optuna.create_study(
        storage=storage,
        study_name=f"{stem}-{number}",
        direction="maximize",
        pruner=pruner(search),
        load_if_exists=True,
    )
    if FACTS not in study.user_attrs:
        study.set_user_attr(SEARCH, search.name)
        study.set_user_attr(FACTS, facts)
    return study


def facts_of(search: Search) -> dict[str, Any]:
    """Return all that decides what a trial gives, by name."""
    entry, run = search.entry.model_dump(mode="json"), search.run.model_dump(mode="json")
    facts = {
        **{key: value for key, value in entry.items() if key not in NO_MATTER},
        **{f"{search.entry.run}.{key}": value for key, value in run.items() if key not in NO_MATTER + REPLACED},
        "seed": search.seed,
        "data": search.data.source.digest,
        **{f"code in {folder}/": _code(Path(folder)) for folder in CODE},
        "torch": torch.__version__,
        "optuna": optuna.__version__,
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def _code(folder: Path) -> str:
    files = [f"{path.relative_to(folder)} {md5(path)}" for path in sorted(folder.rglob("*.py"))]
    return hashlib.sha256("\n".join(files).encode()).hexdigest()[:12]


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def _why_new(search: Search, facts: Mapping[str, Any], known: list[str], storage: BaseStorage) -> str:
    """Return in words what differs from the latest study of this search; empty if there is no study."""
    studies = [
        study
        for study in optuna.get_all_study_summaries(storage, include_best_trial=False)
        if study.study_name in known and study.user_attrs.get(SEARCH) == search.name and FACTS in study.user_attrs
    ]
    if not studies:
        return ""
    latest = max(studies, key=lambda study: study._study_id)
    earlier = latest.user_attrs[FACTS]
    changed = [name for name in {**earlier, **facts} if earlier.get(name) != facts.get(name)]
    return f"since {latest.study_name}, this has changed: " + ", ".join(
        _change(name, earlier.get(name), facts.get(name)) for name in changed
    )


def _change(name: str, earlier: object, now: object) -> str:
    if name == "data" or name.startswith("code in"):  # they are digests
        return name
    return f"{name} (from {earlier} to {now})"


def _say(line: str) -> None:
    print(line, file=sys.stderr)
