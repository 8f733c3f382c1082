"""The commands and the Python of docs/guide.md that open the study of a search, run in a small study."""

import re
import shlex
import sys

import pytest
from small_study import SmallStudy
from tiny_project import ROOT

from pipeline.settings.reading import read_yaml

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

GUIDE = (ROOT / "docs/guide.md").read_text()
NAME = "digits-1a2b3c4d5e6f-1"  # of a study, in the guide


def examples(language: str, study: str) -> list[str]:
    """Return the examples in the guide's section on tuning, for the small study instead of the digits."""
    (section,) = re.findall(r"^## Tune\n(.*?)^## ", GUIDE, re.DOTALL | re.MULTILINE)
    found = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return [block.replace(NAME, study).replace("digits", "toy") for block in found]


def test_the_python_and_the_commands_of_the_guide_open_the_study_of_a_search(made: SmallStudy) -> None:
    best = read_yaml(made.folder / "reports/toy/tuning/toy/best.yaml")
    (code,) = examples("python", best["study"])
    said = made.call(sys.executable, "-W", "ignore", "-c", f"{code}\nprint(study.best_trial.number, len(study.trials))")
    assert said.splitlines()[-1] == f"{best['trial']} {best['trials']}"

    commands = [line for block in examples("sh", best["study"]) for line in block.splitlines()]
    names, trials = (line for line in commands if line.startswith("optuna "))
    (journal,) = made.folder.glob(".scratch/tune/toy/*/journal.log")
    answers = []
    for command in (names, trials):
        words = [str(journal) if "*" in word else word for word in shlex.split(command, comments=True)]
        answers.append(made.call(*words, columns=400))
    assert best["study"] in answers[0]
    assert all(f"{value}" in answers[1] for value in (best["alpha"], best["lr"], best["val_accuracy"]))
