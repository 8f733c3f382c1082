"""Working files of a training that has ended, kept until dvc.lock names its models.

DVC records a stage a moment after the process of the stage has ended. If DVC is killed in between, the next `dvc repro`
deletes the models and starts the stage again. That start finds the last training states here, and writes the same
models from them without training. The files are removed as soon as a stage starts after DVC has recorded the models.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from capsnet.files import md5, write_whole
from pipeline.runtime.locks import LOCK, try_lock
from pipeline.runtime.stopping import DVC_STAGE
from pipeline.runtime.workspace import SCRATCH, root

STATES = "*.state.safetensors"
ENDED = "ended.json"  # the note in the folder of a training that has ended: what DVC has to record
DVC_LOCK = Path("dvc.lock")


def keep(folder: Path, output: Path) -> bool:
    """Keep the last training states if DVC started this training and has yet to record its output.

    Nothing is kept in an experiment of DVC, whose dvc.lock is soon gone. Returns whether the folder is kept.
    """
    if not os.environ.get(DVC_STAGE) or root() != Path.cwd().resolve() or not output.is_dir():
        return False
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK and not path.match(STATES):  # a state before the last one, for example
            path.unlink()
    write_whole(folder / ENDED, json.dumps({"output": str(output), "md5": folder_md5(output)}))
    return True


def take_up(folder: Path) -> bool:
    """Make the folder of a training that had ended one to continue from; return whether it had ended."""
    if not (folder / ENDED).exists():
        return False
    (folder / ENDED).unlink()
    return True


def remove_recorded() -> None:
    """Remove the working files of trainings that have ended and whose models dvc.lock names by now."""
    notes = [*(root() / SCRATCH).glob(f"*/*/*/{ENDED}")]
    with suppress(OSError):  # a disk that cannot be written stops nothing here; the stage itself will name it
        recorded = (root() / DVC_LOCK).read_text(encoding="utf-8", errors="replace") if notes else ""
        for note in notes:
            if (held := try_lock(note.parent / LOCK)) is not None:
                with held:
                    if note.exists() and _awaited(note) in recorded:
                        shutil.rmtree(note.parent)


def _awaited(note: Path) -> str:
    """Return the MD5 that DVC has to record."""
    return str(json.loads(note.read_text(encoding="utf-8"))["md5"])


def folder_md5(folder: Path) -> str:
    """Return the MD5 by which DVC names a folder in dvc.lock: that of the list of its files in JSON."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listed = [{"md5": md5(files[name]), "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest() + ".dir"
