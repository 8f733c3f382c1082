"""Several processes that train together, as `torchrun --nproc-per-node N -m pipeline.<stage>` starts them."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

from pipeline.runtime.stores import first_line


class Group(NamedTuple):
    """This process among those that train together; the one that leads writes and records."""

    rank: int
    number: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and records."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for the others."""
        if self.number > 1:
            from torch import distributed

            distributed.barrier()


def leads() -> bool:
    """Tell whether this process speaks for its group: the only one, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """Join the processes that torchrun started, for as long as the block lasts; alone there is nothing to join.

    Raises ValueError if another process ends before its work is done: none can go on without it.
    """
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1:
        yield Group(0, 1)
        return
    import torch
    from torch import distributed

    ended = (
        f"one of the {number} processes of this training has ended, and the others with it; "
        "the same command goes on from the last checkpoint"
    )
    earlier = signal.signal(signal.SIGTERM, _exit_saying(ended))  # what torchrun sends to those that are left
    try:
        if device != "cpu" and torch.cuda.is_available():
            here = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            distributed.init_process_group("nccl", device_id=here)  # or barriers guess the device, and say so
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
    """Tell a lost connection from other errors: torch has no class of its own for what gloo raises."""
    text = str(error).lower()
    return any(word in text for word in ("gloo", "nccl", "connection", "tcpstore", "socket"))
