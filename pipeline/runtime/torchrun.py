"""Several processes that train together, started by `torchrun --nproc-per-node N -m pipeline.<stage>`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from pipeline.runtime.masking import first_line


class Group(NamedTuple):
    """This process among those that train together. The process that leads writes and records."""

    rank: int
    number: int

    @property
    def leads(self) -> bool:
        """Whether this process writes and records."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.number > 1:
            from torch import distributed

            distributed.barrier()


def leads() -> bool:
    """Tell whether this process leads: because it is alone, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """Join the processes that torchrun started for the block; a process that is alone joins nothing.

    Raises ValueError if another process ends before its work is done: none can continue without it.
    """
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1:
        yield Group(0, 1)
        return
    import torch
    from torch import distributed

    ended = (
        f"one of the {number} processes of this training has ended, and the others with it; "
        "the same command continues from the last checkpoint"
    )
    earlier = signal.signal(signal.SIGTERM, _exit_saying(ended))  # torchrun sends it to the remaining processes
    try:
        if device != "cpu" and torch.cuda.is_available():
            here = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            distributed.init_process_group("nccl", device_id=here)  # else barriers guess the device, with a warning
        else:
            distributed.init_process_group("gloo")
        yield Group(distributed.get_rank(), number)
    except RuntimeError as error:
        if not _is_of_the_group(error):
            raise
        raise ValueError(f"{ended} ({first_line(error)})") from error
    finally:
        signal.signal(signal.SIGTERM, earlier)
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _exit_saying(message: str) -> Callable[[int, object], NoReturn]:
    def end(number: int, frame: object) -> NoReturn:
        sys.exit(f"error: {message}")

    return end


def _is_of_the_group(error: RuntimeError) -> bool:
    """Tell whether an error is a lost connection: torch has no class for the errors of gloo."""
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection", "tcpstore", "socket"))
