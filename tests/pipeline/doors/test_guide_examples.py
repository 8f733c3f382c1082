"""The examples of docs/guide.md that open MLflow's models and Optuna's studies, run in a small study."""

import json
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


def section(title: str) -> str:
    (text,) = re.findall(rf"^## {title}\n(.*?)^## ", GUIDE, re.DOTALL | re.MULTILINE)
    return str(text)


def blocks(title: str, language: str, study: SmallStudy) -> list[str]:
    """Return the examples in a section of the guide, for the small study instead of the digits."""
    found = re.findall(rf"```{language}\n(.*?)```", section(title), re.DOTALL)
    best = read_yaml(study.folder / "reports/toy/tuning/toy/best.yaml")
    names = {NAME: best["study"], "data/digits": "data/squares", "digits": "toy"}
    for written, here in names.items():
        found = [block.replace(written, here) for block in found]
    return found


def test_the_python_of_the_guide_gets_a_network_from_mlflow_and_evaluates_it(study: SmallStudy) -> None:
    study.call("python", "-m", "pipeline.apps.record")
    code = "\n".join(blocks("Serve", "python", study))
    code += "\nprint(type(network).__name__, network.config.classes)"
    said = study.call(sys.executable, "-c", code, MLFLOW_DISABLE_TELEMETRY="true", PYTHONWARNINGS="ignore")
    assert said.splitlines()[-1] == "CapsNet 3"
    scores = json.loads((study.folder / "reports/toy/metrics/toy-fc.json").read_text())
    (accuracy,) = re.findall(r"'accuracy_score': (?:np\.float64\()?([0-9.]+)", said)
    assert 100 * float(accuracy) == pytest.approx(scores["accuracy_mean"])


def test_the_python_and_the_commands_of_the_guide_open_the_study_of_a_search(made: SmallStudy) -> None:
    best = read_yaml(made.folder / "reports/toy/tuning/toy/best.yaml")
    (code,) = (block for block in blocks("Tune", "python", made) if "load_study" in block)
    said = made.call(sys.executable, "-W", "ignore", "-c", f"{code}\nprint(study.best_trial.number, len(study.trials))")
    assert said.splitlines()[-1] == f"{best['trial']} {best['trials']}"

    commands = [line for block in blocks("Tune", "sh", made) for line in block.splitlines()]
    names, trials = (line for line in commands if line.startswith("optuna "))
    (journal,) = made.folder.glob(".scratch/tune/toy/*/journal.log")
    answers = []
    for command in (names, trials):
        words = [str(journal) if "*" in word else word for word in shlex.split(command, comments=True)]
        answers.append(made.call(*words, columns=400))
    assert best["study"] in answers[0]
    assert all(f"{value}" in answers[1] for value in (best["alpha"], best["lr"], best["val_accuracy"]))
