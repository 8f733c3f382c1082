"""The command line of every stage: its arguments, and one line for a mistake of the user."""

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from pipeline.runtime.collector import collect_rarely
from pipeline.runtime.freed_memory import keep_freed_memory
from pipeline.runtime.scratch import left_by_kills
from pipeline.runtime.stopping import DVC_STAGE
from pipeline.runtime.unrecorded import remove_recorded

DEBUG = "CAPSNET_DEBUG"
PROGRAMS = ("git", "dvc", "timeout", "nvidia-smi")  # that stages and apps start
LEFT_OPEN = "pipeline.tracking.left_open"  # started, not imported: nothing in this folder depends on MLflow
FULL = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EROFS, errno.EACCES)
NO_ROOM = "; all that was finished is kept. Make room there (`df -h`), then the same command continues"
NOT_WRITABLE = "; make it writable, then the same command continues"
NOT_READABLE = "; make it readable, then the same command continues"


def run_stage(main: Callable[[], None], ways_out: Mapping[type[Exception], str] | None = None) -> None:
    """Call a stage's `main`. An error that a user can cause ends it with one line on standard error and status 2.

    `ways_out` is what the line says at its end about errors of these types. With CAPSNET_DEBUG set, such an error shows
    its traceback instead. A stage of DVC first removes the working files of earlier stages that DVC has recorded by
    now, and ends the MLflow runs of killed trainings last.
    """
    keep_freed_memory()
    collect_rarely()
    try:
        if os.environ.get(DVC_STAGE):
            remove_recorded()
        main()
        if os.environ.get(DVC_STAGE):
            _end_runs_of_killed()
    except KeyboardInterrupt as interrupt:
        sys.exit(str(interrupt) or "interrupted; the same command goes on from what is finished")
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get(DEBUG):
            raise
        print(f"error: {missing_program(error) or error}{_way_out(error, ways_out or {})}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        # Compared by its name: not every stage imports torch.
        if type(error).__name__ != "OutOfMemoryError" or os.environ.get(DEBUG):
            raise
        advice = "lower batch_size, or train one seed at a time (--seeds 0)"
        print(f"error: the GPU's memory is full; {advice}: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(2)


def _end_runs_of_killed() -> None:
    """End the MLflow runs that killed trainings left open, in a process of its own: most stages need no MLflow."""
    with suppress(OSError):  # the stage has done its work
        if left_by_kills("train"):
            subprocess.run([sys.executable, "-m", LEFT_OPEN], check=False)


def _way_out(error: Exception, ways_out: Mapping[type[Exception], str]) -> str:
    """Return what to do about a full disk, a file without permission, or a stage's own error; otherwise empty."""
    number = error.errno if isinstance(error, OSError) else None
    if number in FULL:
        return NO_ROOM
    if number in READ_ONLY:
        return NOT_READABLE if _is_unreadable(error) else NOT_WRITABLE
    return ways_out.get(type(error), "")


def _is_unreadable(error: Exception) -> bool:
    """Tell whether an error names a file or folder that is there and cannot be read."""
    path = getattr(error, "filename", None)
    return isinstance(path, (str, os.PathLike)) and os.access(path, os.F_OK) and not os.access(path, os.R_OK)


def missing_program(error: Exception) -> str:
    """Return what to say if a program that should be started is not installed; empty for any other error."""
    if isinstance(error, FileNotFoundError) and error.filename in PROGRAMS:
        return f"{error.filename}: no such program on the PATH; install it, then start the same command again"
    return ""


def parser(doc: str | None, *positional: tuple[str, str]) -> argparse.ArgumentParser:
    """Return a parser whose help is the docstring `doc`; `positional` are the names of arguments and their help."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, meaning in positional:
        made.add_argument(name.lower(), metavar=name, help=meaning)
    return made


def name_argument(doc: str | None, name: str, meaning: str, argv: Sequence[str] | None) -> str:
    """Return the only argument of a stage: a name."""
    return str(getattr(parser(doc, (name, meaning)).parse_args(argv), name.lower()))
