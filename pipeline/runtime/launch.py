"""A stage that starts itself again as several processes, as torchrun does."""

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from pipeline.runtime.stopping import ends_with_dvc

KEPT_LINES = 20  # of the output of a failed process that is shown


def usable_processes(processes: int, device: str) -> int:
    """Return how many of these processes can train here: each needs a GPU of its own, if there is one."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return processes
    return min(processes, torch.cuda.device_count())


def start_processes(number: int, module: str, arguments: Sequence[str]) -> None:
    """Run `python -m module` with these arguments in several processes that train together, until all have ended.

    Only the first process writes to the terminal. The output of another one is shown if it is the first that failed.

    Raises SystemExit with the status of the process that failed first.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # its messages are repeated below, in one line
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun; each process sets its own number of threads
    with tempfile.TemporaryDirectory(prefix="capsnet-") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=number,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(logs, redirects=dict.fromkeys(range(1, number), Std.ALL)),
        )
        try:
            with ends_with_dvc():
                elastic_launch(config, sys.executable)("-m", module, *arguments)
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if rank:
                _show(Path(logs), rank)
            sys.exit(failure.exitcode if failure.exitcode > 0 else 1)
        except SignalException as ended:
            sys.exit(128 + int(ended.sigval or signal.SIGTERM))


def _show(logs: Path, rank: int) -> None:
    """Print the end of what a process said."""
    for path in sorted(logs.glob(f"*/attempt_*/{rank}/stderr.log")):
        print("\n".join(path.read_text(errors="replace").splitlines()[-KEPT_LINES:]), file=sys.stderr)
