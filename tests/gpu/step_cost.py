"""The arithmetic and the memory traffic of a training step, counted from the operations of a forward pass.

They are counted on torch's meta device, which computes nothing: there every machine has the same operations, those of
PyTorch without kernels of our own. A backward pass counts as two forward passes: it computes the gradients of inputs
and weights.
"""

from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from capsnet.networks.capsnet import CapsNet, NetworkConfig

ADAM = 7 * 4  # bytes a parameter: it reads parameter, gradient and two moments, and writes all but the gradient


class StepCost(NamedTuple):
    """Floating-point operations of products and convolutions, and bytes that are read and written in float32."""

    operations: float  # for each image
    image_bytes: float  # for each image
    step_bytes: float  # for each step, whatever its batch: weights and optimiser

    def bytes(self, batch: int) -> float:
        """Return the bytes that a step reads and writes, if each operation reads and writes all of its tensors."""
        return batch * self.image_bytes + self.step_bytes


class Traffic(TorchDispatchMode):
    """Adds up the bytes of all tensors that operations take and return; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = (each for each in tree_leaves((args, kwargs, made)) if isinstance(each, torch.Tensor))
            self.bytes += sum(each.numel() * each.element_size() for each in tensors)
        return made


def step_cost(model: NetworkConfig) -> StepCost:
    """Count what a training step of a network costs."""
    with torch.device("meta"):
        network = CapsNet(model).eval()
    counted = {batch: _forward_cost(network, model, batch) for batch in (2, 4)}
    (operations, fewer), (_, more) = counted[2], counted[4]
    image_bytes = (more - fewer) / 2
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return StepCost(3 * operations / 2, 3 * image_bytes, 3 * (fewer - 2 * image_bytes) + ADAM * parameters)


def _forward_cost(network: CapsNet, model: NetworkConfig, batch: int) -> tuple[float, float]:
    images = torch.empty(batch, model.channels, model.image_size, model.image_size, device="meta")
    labels = torch.zeros(batch, dtype=torch.long, device="meta")
    flops, traffic = FlopCounterMode(display=False), Traffic()
    with torch.no_grad(), traffic, flops:
        network(images, labels)
    return flops.get_total_flops(), traffic.bytes
