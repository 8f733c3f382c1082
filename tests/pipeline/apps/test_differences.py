"""The first difference between two trainings, or between their scores, is named."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pipeline.apps.proving.differences import metric_difference, row_difference, tensor_difference


def test_the_first_difference_of_tensors_is_named(tmp_path: Path) -> None:
    then, now = tmp_path / "then", tmp_path / "now"
    tensors = {"a": torch.zeros(2, 3), "b": torch.tensor(1.5), "c": torch.ones(2, dtype=torch.bfloat16)}

    def difference(**changes: torch.Tensor) -> str:
        save_file(tensors, then)
        save_file(tensors | changes, now)
        return tensor_difference(then, now)

    assert difference() == ""
    assert difference(b=torch.tensor(1.75)) == "b: 1 of 1 values, first []: got 1.75, expected 1.5"
    moved = torch.zeros(2, 3)
    moved[1, 1:] = torch.tensor([2.0, 3.0])
    assert difference(a=moved) == "a: 2 of 6 values, first [1, 1]: got 2.0, expected 0.0"
    assert difference(a=-torch.zeros(2, 3)) == "a: 6 of 6 values, first [0, 0]: got -0.0, expected 0.0"
    assert difference(c=torch.ones(2)) == "c: got torch.float32 [2], expected torch.bfloat16 [2]"
    assert difference(d=torch.ones(2)) == "d: only now"
    tensors["a"] = torch.full((2, 3), torch.nan)
    assert difference() == ""


def test_the_first_difference_of_rows_and_of_scores_is_named(tmp_path: Path) -> None:
    then, now = tmp_path / "then.csv", tmp_path / "now.csv"
    then.write_text("epoch,loss\n1,0.5\n2,0.25\n")

    def rows(text: str) -> str:
        now.write_text(text)
        return row_difference(then, now, "epoch")

    assert rows(then.read_text()) == ""
    assert rows("epoch,loss\n1,0.5\n2,0.250\n") == "epoch 2: loss: got 0.250, expected 0.25"
    assert rows("epoch,loss\n1,0.5\n") == "then.csv: got 1 rows, expected 2"
    assert rows("epoch,loss,more\n1,0.5,1\n") == "then.csv: columns: got epoch, loss, more, expected epoch, loss"

    metrics = {"seeds": {"0": {"accuracy": 99.5}}, "settings": {"lr": 0.1}}
    then.write_text(json.dumps(metrics))

    def scores(**changes: Any) -> str:
        now.write_text(json.dumps(metrics | changes))
        return metric_difference(then, now)

    assert scores() == scores(settings={"lr": 0.1, "new": 1}) == ""
    assert scores(settings={"new": 1}) == "settings.lr: only then"
    assert scores(more=1) == "more: only now"
    assert scores(seeds={"0": {"accuracy": 99.0}}) == "seeds.0.accuracy: got 99.0, expected 99.5"
