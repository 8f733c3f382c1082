"""Training steps recorded as CUDA graphs: recorded once, replayed for every batch of the same size."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from capsnet.training.optimiser import recordable

WARM_UP = 3  # steps before a recording, in which libraries allocate memory and choose their algorithms


class StepRecorder:
    """Records a step for each size of batch, and replays it on a CUDA stream of its own, beside other recorders.

    `step(size)` must take nothing from Python but the size and give nothing back; `changed()` returns all tensors that
    a step changes.
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
        """Run a step for a batch of `size` examples; record it if it is the first of that size."""
        with torch.cuda.stream(self.stream):
            if size not in self.graphs:
                self._record(size)
            self.graphs[size].replay()

    def forget(self) -> None:
        """Drop all recordings, because a tensor that the steps read was replaced by another."""
        self.graphs.clear()

    def _record(self, size: int) -> None:
        """Record a step, and undo what the warm-up before it changed.

        Each warm-up repeats the same step of the epoch, because the epoch may have no further step.
        """
        changed = self.changed()
        before = [tensor.clone() for tensor in changed]
        for _ in range(WARM_UP):
            self.step(size)
            for tensor, earlier in zip(changed, before, strict=True):
                tensor.copy_(earlier)
        graph = torch.cuda.CUDAGraph()
        # A recording leaves nothing in its memory that another one needs, so that all can share it.
        pool = next((earlier.pool() for earlier in self.graphs.values()), None)
        self.optimizer.zero_grad(set_to_none=True)
        with recordable(self.optimizer), torch.cuda.graph(graph, pool=pool, stream=self.stream):
            self.step(size)
        self.graphs[size] = graph
