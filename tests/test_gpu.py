"""What a GPU has to share with the CPU: the mathematics to rounding, and giving the same bytes twice."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from capsnet.model import ModelConfig
from capsnet.routing import IMPLEMENTATIONS, dynamic_routing
from capsnet.training import TrainingConfig, train
from pipeline.device import configure_torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_routing_on_the_gpu_agrees_with_the_cpu(implementation: str) -> None:
    inputs, weight = torch.randn(5, 33, 8), 0.1 * torch.randn(33, 10, 8, 16)
    on_cpu = dynamic_routing(inputs.double(), weight.double())
    on_gpu = dynamic_routing(inputs.cuda(), weight.cuda(), implementation=implementation)
    assert_close(on_gpu.capsules.cpu().double(), on_cpu.capsules, rtol=1e-4, atol=1e-5)
    assert_close(on_gpu.coupling.cpu().double(), on_cpu.coupling, rtol=1e-4, atol=1e-5)


def test_two_trainings_on_the_gpu_are_equal_to_the_bit(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    device = configure_torch("cuda", 2).device
    images, labels = (tensor.to(device) for tensor in tiny_data)
    config = replace(tiny_training, max_shift=2, validation=0.25)
    first, second = (train(tiny_model, config, images, labels, 0) for _ in range(2))
    assert first.history == second.history
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
