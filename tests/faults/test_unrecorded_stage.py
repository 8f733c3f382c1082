"""DVC killed after a training has ended and before it is recorded: the same bytes, and nothing is trained again."""

import subprocess
from pathlib import Path

import pytest
from warm_python import warm

from tests.faults.faulty_study import RUN, TARGET, finish, make_study, own_variables

pytestmark = pytest.mark.slow
# DVC that is killed where it begins to record the training, when the process of the stage has ended.
KILLED = """
import os, signal
import dvc.stage
from dvc.cli import main

save = dvc.stage.Stage.save

def save_or_die(self, *arguments, **options):
    if self.addressing.startswith("train"):
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, *arguments, **options)

dvc.stage.Stage.save = save_or_die
main(["repro", "-q", "TARGET"])
"""


def models(study: Path) -> dict[str, bytes]:
    """Return the files of the trained networks by name."""
    return {
        path.name: path.read_bytes() for path in (study / "models" / RUN).iterdir() if path.name != "environment.json"
    }


def test_a_training_that_dvc_did_not_record_is_not_trained_again(tmp_path: Path) -> None:
    study, variables = make_study(tmp_path), warm(own_variables())
    command = ("python", "-c", KILLED.replace("TARGET", TARGET))
    killed = subprocess.run(command, cwd=study, env=variables, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert (study / "models" / RUN / "history.csv").exists()
    trained = models(study)
    assert f"train@{RUN}" not in (study / "dvc.lock").read_text()
    status, said = finish(study)
    assert status == 0, said
    assert "it had ended, but DVC did not record it: continuing from its last state" in said
    assert models(study) == trained
    assert not [*study.glob(".scratch/train/*/*")]  # recorded now: the next stage has removed them
    subprocess.run(["python", "-m", "pipeline.train", RUN], cwd=study, env=variables, capture_output=True, check=True)
    assert models(study) == trained
