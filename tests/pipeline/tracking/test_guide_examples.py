"""The guide's Python for a network that MLflow recorded, as it stands there, in a small study."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from saved_network import lengths
from tiny_project import ROOT, squares

from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.saved import save_model
from pipeline.tracking.mlflow_run import record_run

TAGS = {"stage": "train", "output": "models/x", "fingerprint": "f", "kind": "run"}


@pytest.mark.slow
def test_the_guides_evaluation_of_a_recorded_network_gives_its_accuracy(store: Path, tiny_model: ModelConfig) -> None:
    torch.manual_seed(0)
    save_model(Path("seed-0.safetensors"), CapsNet(tiny_model), {"run": "toy-fc", "seed": 0})
    with record_run("test", "x", tags=TAGS) as run:
        run.log_model(Path("seed-0.safetensors"))
    images, labels = squares(60, 1)
    Path("data").mkdir(exist_ok=True)
    np.savez("data/toy.npz", test_images=images[:, None], test_labels=labels)
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "mlflow" in block]
    assert len(blocks) == 2
    code = "".join(blocks).replace("digits-fc", "toy-fc").replace("data/digits", "data/toy")
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    metrics = ast.literal_eval(ended.stdout.strip().splitlines()[-1])
    answers = lengths(Path("seed-0.safetensors"), images[:, None]).argmax(1)
    assert metrics["example_count"] == 60
    assert metrics["accuracy_score"] == np.mean(answers == labels)
