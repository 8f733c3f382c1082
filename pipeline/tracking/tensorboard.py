"""Event files that TensorBoard shows, beside what MLflow records. None of them ends a training.

    tensorboard --logdir tensorboard

Each training has a folder: `tensorboard/<run>/<experiment of DVC and fingerprint>/`, with one folder for each seed.
"""

import io
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.runtime.masking import first_line
from pipeline.runtime.workspace import root

FOLDER = "tensorboard"


def events_folder(run: str, fingerprint: str) -> Path:
    """Return the folder of a training, relative to the project's top folder."""
    name = os.environ.get("DVC_EXP_NAME", "")
    return Path(FOLDER) / run / (f"{name}-{fingerprint}" if name else fingerprint)


def event_writer(folder: Path) -> Callable[[int, Mapping[str, float]], None]:
    """Return a function that writes the metrics of a step into a new event file.

    Args:
        folder: Its folder, relative to the project's top folder.

    A file that cannot be written is one warning. A later step writes everything that is missing, and writes a file
    anew that is no longer there. TensorBoard shows none of the steps that an earlier process wrote into the folder, so
    a training that is resumed writes the steps of its checkpoint again.
    """
    file = root() / folder / f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
    records = [_beginning()]
    size = 0  # of what was written
    warned = False

    def write(step: int, values: Mapping[str, float]) -> None:
        nonlocal size, warned
        records.extend(_scalar(name, value, step) for name, value in values.items())
        content = b"".join(records)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            kept = size if file.is_file() and file.stat().st_size == size else 0
            with file.open("ab" if kept else "wb") as opened:
                opened.write(content[kept:])
            size = len(content)
        except OSError as error:
            size = 0
            if not warned:
                what = f"TensorBoard: {folder}: {first_line(error)}"
                print(f"warning: {what}; the training goes on without it", file=sys.stderr)
            warned = True

    return write


def _beginning() -> bytes:
    """Return the records at the start of a file: its version, and that it replaces what other files have."""
    from torch.utils.tensorboard.writer import Event, SessionLog  # type: ignore[attr-defined]

    now = time.time()
    start = SessionLog(status=SessionLog.START)
    return _record(Event(wall_time=now, file_version="brain.Event:2").SerializeToString()) + _record(
        Event(wall_time=now, step=0, session_log=start).SerializeToString()
    )


def _scalar(name: str, value: float, step: int) -> bytes:
    """Return the record of one value."""
    from torch.utils.tensorboard.summary import scalar
    from torch.utils.tensorboard.writer import Event  # type: ignore[attr-defined]

    event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
    return _record(event.SerializeToString())


def _record(content: bytes) -> bytes:
    """Return bytes with their length and checksum, as they stand in a file."""
    from torch.utils.tensorboard import RecordWriter

    file = io.BytesIO()
    RecordWriter(file).write(content)
    return file.getvalue()
