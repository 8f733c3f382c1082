"""What a GPU asks of a program, tested on a CPU: replayed steps, nothing read in between, nothing that it refuses."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from capsnet.training.replay import StepReplayer
from capsnet.training.step import Trainer

# What brings a number, or a shape that depends on numbers, from the device to Python, as far as a CPU sees it: there
# `.cpu()`, `.numpy()` and `.tolist()` ask torch for nothing.
READING = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::allclose",
    "aten::bincount",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave.Tensor",
    "aten::unique_consecutive",
}
CHOOSING = {"aten::index.Tensor", "aten::index_put_", "aten::index_put"}  # by booleans it is reading, too
# What torch.use_deterministic_algorithms refuses on a GPU, as far as it has a name of its own.
REFUSED = {
    "aten::median.dim",
    "aten::nanmedian.dim",
    "aten::histc",
    "aten::put_",
    "aten::scatter_reduce.two",
    "aten::scatter_reduce_.two",
    "aten::nll_loss_forward",
    "aten::nll_loss2d_forward",
    "aten::grid_sampler_2d_backward",
    "aten::upsample_bilinear2d_backward",
    "aten::upsample_bicubic2d_backward",
    "aten::reflection_pad2d_backward",
    "aten::_adaptive_avg_pool2d_backward",
}


class Operations(TorchDispatchMode):
    """Collects the names of the operations that ran in the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def forbid_reading(func: Any, args: Any) -> None:
    """Fail for an operation that brings something to Python."""
    assert func.name() not in READING, func
    if func.name() in CHOOSING:
        assert not any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]), func


class NothingIsRead(TorchDispatchMode):
    """Fails where an operation brings something to Python."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        forbid_reading(func, args)
        return func(*args, **(kwargs or {}))


@contextmanager
def waiting_forbidden() -> Iterator[None]:
    """Raise in the block where Python waits for the GPU."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the first call says that the mode is a prototype, after it was set
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Graph:
    """Stands in for a CUDA graph: operations with their very tensors, which replaying fills anew."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.ran = False

    def pool(self) -> None:
        """Return the memory of its own that the graph would have."""

    @torch.no_grad()
    def replay(self) -> None:
        """Run the operations again, all but the first time: a capture also runs them."""
        if self.ran:
            for func, args, kwargs, before in self.operations:
                for made, kept in zip(tree_leaves(func(*args, **kwargs)), tree_leaves(before), strict=True):
                    if isinstance(kept, Tensor) and made.data_ptr() != kept.data_ptr():
                        kept.copy_(made)
        self.ran = True


class Capture(TorchDispatchMode):
    """Captures the operations of the block; what Python decides or computes on the way is captured as it is now."""

    def __init__(self, graph: Graph, pool: Any = None, stream: Any = None) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        forbid_reading(func, args)
        made = func(*args, **(kwargs or {}))
        self.graph.operations.append((func, args, kwargs or {}, made))
        return made


class Stream:
    """Stands in for a CUDA stream."""

    def __init__(self, device: torch.device) -> None: ...

    def wait_stream(self, other: Any) -> None:
        """Wait for nothing: operations run one after the other."""


@contextmanager
def captured(trainer: Trainer) -> Iterator[StepReplayer]:
    """Let a trainer on the CPU capture its steps and replay them in the block; yield the replayer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "Stream", Stream)
        patch.setattr(torch.cuda, "CUDAGraph", Graph)
        patch.setattr(torch.cuda, "graph", Capture)
        patch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        patch.setattr(torch.cuda, "current_stream", Stream)
        patch.setattr(trainer, "replayer", trainer.build_replayer())
        yield trainer.replayer
