"""What tests of training share: a trainer, a kill after an epoch, and the comparison of two trainings to the byte."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from capsnet.networks.capsnet import ModelConfig
from capsnet.networks.saved import save_model
from capsnet.training.loop import Trained
from capsnet.training.processes import Processes
from capsnet.training.step import Trainer
from capsnet.training.training_config import TrainingConfig

Data = tuple[Tensor, Tensor]


def trainer_on(data: Data, model_config: ModelConfig, config: TrainingConfig, seed: int = 0) -> Trainer:
    """Return a trainer of all images, on their device."""
    images, labels = data
    members = torch.arange(len(labels), device=labels.device)
    return Trainer(model_config, config, images, labels, members, seed, Processes())


def killed_after(last: int) -> Callable[[int, Mapping[str, float]], None]:
    def log(epoch: int, values: Mapping[str, float]) -> None:
        if epoch == last:
            raise KeyboardInterrupt

    return log


def model_bytes(folder: Path, trained: Trained) -> bytes:
    path = folder / "compared.safetensors"
    save_model(path, trained.model, {})
    return path.read_bytes()


def assert_same_training(folder: Path, one: Trained, other: Trained) -> None:
    assert json.dumps(one.history) == json.dumps(other.history)
    assert model_bytes(folder, one) == model_bytes(folder, other)


def assert_equal_states(one: Trainer, other: Trainer, tolerance: float) -> None:
    """Compare network, optimiser and sums of two trainers; a tolerance of 0 asks for equal values."""
    assert one.tensors().keys() == other.tensors().keys()
    for name, tensor in one.tensors().items():
        torch.testing.assert_close(tensor, other.tensors()[name], rtol=tolerance, atol=tolerance, msg=name)
    torch.testing.assert_close(one.counters.sums, other.counters.sums, rtol=tolerance, atol=tolerance)
