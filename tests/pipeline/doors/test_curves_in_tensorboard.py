"""TensorBoard shows the trainings of a small study: its server is asked for what its page asks for."""

import csv
import json
import os
import subprocess
import urllib.parse
import urllib.request
from typing import Any

import pytest
from servers import free_port, serving
from small_study import PATH, SmallStudy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/{path}", timeout=60) as answer:
        return json.load(answer)


def test_tensorboard_shows_a_curve_of_each_training_with_the_values_of_its_history(made: SmallStudy) -> None:
    port = free_port()
    command = ["tensorboard", "--logdir", "tensorboard", "--port", str(port)]
    options = {
        "cwd": made.folder,
        "env": {**os.environ, "PATH": PATH},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    with serving(command, f"http://127.0.0.1:{port}/data/plugin/scalars/tags", 120, **options):
        tags = ask(port, "tags")
        assert sorted(name.split("/")[0] for name in tags) == ["toy-fc", "toy-tuned"]
        for name, scalars in tags.items():
            assert {"train_loss", "train_accuracy", "val_accuracy", "lr", "alpha"} <= set(scalars)
            query = urllib.parse.urlencode({"run": name, "tag": "train_loss"})
            points = ask(port, f"scalars?{query}")
            with (made.folder / "models" / name.split("/")[0] / "history.csv").open() as file:
                history = [(int(row["epoch"]), float(row["train_loss"])) for row in csv.DictReader(file)]
            assert [step for _, step, _ in points] == [epoch for epoch, _ in history]
            assert [value for *_, value in points] == pytest.approx([loss for _, loss in history], rel=1e-6)
