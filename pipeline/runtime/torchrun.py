"""Several processes that train together, started by `torchrun --nproc-per-node N -m pipeline.<stage>`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipeline.runtime.masking import first_line
from pipeline.runtime.termination import ends_on_sigterm


class Group(NamedTuple):
    """This process among those that train together. The process that leads writes and records."""

    rank: int
    number: int
    closers: list[Callable[[], object]]  # called, the last one first, if this process must end while it waits in C

    @property
    def leads(self) -> bool:
        """Whether this process writes and records."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.number > 1:
            from torch import distributed

            distributed.barrier()

    @contextmanager
    def closing(self, closer: Callable[[], object]) -> Iterator[None]:
        """Have `closer` called if this process must end while it waits in C in the block."""
        self.closers.append(closer)
        try:
            yield
        finally:
            self.closers.remove(closer)

    def close(self) -> None:
        """Call the closers, the last one first."""
        for closer in reversed(self.closers):
            closer()


def started_by_torchrun() -> bool:
    """Tell whether this process is one of those that torchrun started."""
    return "WORLD_SIZE" in os.environ


def leads() -> bool:
    """Tell whether this process leads: because it is alone, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """Join the processes that torchrun started for the block; a process that is alone joins nothing.

    Raises ValueError if another process ends before its work is done: none can continue without it. Also for more
    processes than GPUs.
    """
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1:
        yield Group(0, 1, [])
        return
    ended = (
        f"one of the {number} processes of this training has ended, and the others with it; "
        "the same command continues from the last checkpoint"
    )
    group = Group(int(os.environ["RANK"]), number, [])
    with ends_on_sigterm(ended, group.close):  # torchrun sends SIGTERM to the remaining processes
        try:
            with _joined(device):
                yield group
        except RuntimeError as error:
            if not _is_of_the_group(error):
                raise
            raise ValueError(f"{ended} ({first_line(error)})") from error


@contextmanager
def _joined(device: str) -> Iterator[None]:
    """Join torch's default group for the block, on GPUs if the device may be one."""
    import torch
    from torch import distributed

    try:
        if device != "cpu" and torch.cuda.is_available():
            number = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            if number > torch.cuda.device_count():
                raise ValueError(
                    f"device: got {torch.cuda.device_count()} GPUs, expected one for each of {number} processes"
                )
            here = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            distributed.init_process_group("nccl", device_id=here)  # else barriers guess the device, with a warning
        else:
            distributed.init_process_group("gloo")
        yield
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _is_of_the_group(error: RuntimeError) -> bool:
    """Tell whether an error is a lost connection: torch has no class for the errors of gloo."""
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection", "tcpstore", "socket"))
