"""Several processes that train one network together, each on its share of every batch (data parallel).

Axes: B batch, S a process's share of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor, nn


class Processes(NamedTuple):
    """Which process this is of how many."""

    rank: int = 0
    number: int = 1

    def shared(self, batch: Int64[Tensor, " B"]) -> Int64[Tensor, " S"]:
        """Return this process's share of a batch: the whole of it where there is only one."""
        return batch[self.rank :: self.number]

    def share(self, model: nn.Module) -> Callable[..., Any]:
        """Return the model's forward pass, which in the backward pass averages gradients over the processes.

        Raises ValueError for batch normalisation on a CPU, where torch cannot normalise over several processes.
        """
        if self.number == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
            if next(model.parameters()).device.type == "cpu":
                raise ValueError(
                    "processes: got several without GPUs, expected one for a network that normalises batches"
                )
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return DistributedDataParallel(model)

    def reduce(self, sums: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return sums added up, and the lowest of the counts that are not negative, over the processes."""
        if self.number == 1:
            return sums, first
        from torch import distributed

        never = torch.iinfo(first.dtype).max
        sums, first = sums.clone(), torch.where(first < 0, never, first)
        distributed.all_reduce(sums)
        distributed.all_reduce(first, distributed.ReduceOp.MIN)
        return sums, torch.where(first == never, -1, first)


def joined() -> Processes:
    """Return where this process stands in torch's default group, or alone if there is none."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return Processes()
    return Processes(distributed.get_rank(), distributed.get_world_size())
