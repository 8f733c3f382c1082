"""Training steps as CUDA graphs: captured once for each size of batch, then replayed."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from capsnet.training.optimiser import capturable

WARM_UP = 3  # steps before a capture, in which libraries allocate memory and choose their algorithms


class StepReplayer:
    """Captures a step for each size of batch, and replays it on a CUDA stream of its own.

    Several replayers work at the same time, each on its own stream.

    Args:
        step: Trains on a batch of the given size. It must take nothing from Python but the size, and return nothing.
        changed: Returns all tensors that a step changes.
        optimizer: The optimiser that the step calls.
        device: The GPU.
    """

    def __init__(
        self,
        step: Callable[[int], None],
        changed: Callable[[], Sequence[Tensor]],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
    ) -> None:
        self.step, self.changed, self.optimizer, self.device = step, changed, optimizer, device
        self.stream = torch.cuda.Stream(device)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def begin(self) -> None:
        """Let the steps wait for everything that the device was asked to do before."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def end(self) -> None:
        """Let everything that the device is asked to do next wait for the steps."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def run(self, size: int) -> None:
        """Run a step for a batch of `size` examples; capture it first if it is the first of that size."""
        with torch.cuda.stream(self.stream):
            if size not in self.graphs:
                self._capture(size)
            self.graphs[size].replay()

    def forget(self) -> None:
        """Drop all graphs, because a tensor that the steps read was replaced by another."""
        self.graphs.clear()

    def _capture(self, size: int) -> None:
        """Capture a step, and undo what the warm-up before it changed.

        Each warm-up repeats the same step of the epoch, because the epoch may have no further step.
        """
        changed = self.changed()
        before = [tensor.clone() for tensor in changed]
        for _ in range(WARM_UP):
            self.step(size)
            for tensor, earlier in zip(changed, before, strict=True):
                tensor.copy_(earlier)
        graph = torch.cuda.CUDAGraph()
        # A graph leaves nothing in its memory that another graph needs, so all can share the memory.
        pool = next((earlier.pool() for earlier in self.graphs.values()), None)
        self.optimizer.zero_grad(set_to_none=True)
        with without_collector(), capturable(self.optimizer), torch.cuda.graph(graph, pool=pool, stream=self.stream):
            self.step(size)
        self.graphs[size] = graph


@contextmanager
def without_collector() -> Iterator[None]:
    """Collect garbage now, and none in the block: a graph that is freed while another is captured spoils the capture.

    A trainer and its replayer refer to each other, so a trainer of before is freed by the collector alone. PyTorch
    collected before each capture until 2.8 (github.com/pytorch/pytorch/pull/161037).
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
