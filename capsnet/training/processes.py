"""Data-parallel training: several processes train one network, each on its share of every batch.

Axes: B batch, S a process's share of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor, nn


class Processes(NamedTuple):
    """The number of this process, and how many there are."""

    rank: int = 0
    number: int = 1

    def shared(self, batch: Int64[Tensor, " B"]) -> Int64[Tensor, " S"]:
        """Return the share of a batch that this process trains on: all of it if there is only one process."""
        return batch[self.rank :: self.number]

    def share(self, model: nn.Module) -> Callable[..., Any]:
        """Return the model's forward pass; its backward pass averages the gradients over all processes.

        Raises ValueError for batch normalisation on a CPU, because torch cannot normalise over processes there.
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
        """Return the sums over all processes, and the lowest `first` that is not negative (-1 if there is none)."""
        if self.number == 1:
            return sums, first
        from torch import distributed

        never = torch.iinfo(first.dtype).max
        sums, first = sums.clone(), torch.where(first < 0, never, first)
        distributed.all_reduce(sums)
        distributed.all_reduce(first, distributed.ReduceOp.MIN)
        return sums, torch.where(first == never, -1, first)


def joined() -> Processes:
    """Return this process's place in torch's default group, or that of a single process without a group."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return Processes()
    return Processes(distributed.get_rank(), distributed.get_world_size())
