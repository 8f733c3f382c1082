"""Working files of a training that has ended, kept until dvc.lock names its models.

DVC records a stage a moment after the process of the stage has ended. If DVC is killed in between, the next `dvc repro`
deletes the models and starts the stage again. That start finds the last training states here, and writes the same
models from them without training. The files are removed as soon as a stage starts after DVC has recorded the models.
dvc.lock may name the very same models from an earlier training: only a dvc.lock written later counts.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from capsnet.files import md5, write_whole
from pipeline.runtime.locks import LOCK, try_existing
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
    """Remove the note that a training has ended from its folder; return whether there was one.

    Then the training continues from the last states in the folder.
    """
    if not (folder / ENDED).exists():
        return False
    (folder / ENDED).unlink()
    return True


def remove_recorded() -> None:
    """Remove the working files of trainings that have ended and whose models dvc.lock names by now."""
    notes = [*(root() / SCRATCH).glob(f"*/*/*/{ENDED}")]
    with suppress(OSError):  # a disk that cannot be written stops nothing here; the stage itself will name it
        for note in notes:
            if (held := try_existing(note.parent / LOCK)) is not None:
                with held:
                    if note.exists() and _is_recorded(note):
                        shutil.rmtree(note.parent)


def _is_recorded(note: Path) -> bool:
    """Tell whether DVC has written dvc.lock since the training ended, with its models."""
    lock = root() / DVC_LOCK
    if not lock.exists() or lock.stat().st_mtime_ns <= note.stat().st_mtime_ns:
        return False
    awaited = str(json.loads(note.read_text(encoding="utf-8"))["md5"])
    return awaited in lock.read_text(encoding="utf-8", errors="replace")


def folder_md5(folder: Path) -> str:
    """Return the MD5 by which DVC names a folder in dvc.lock."""
    return md5_of_listing(
        {path.relative_to(folder).as_posix(): md5(path) for path in folder.rglob("*") if path.is_file()}
    )


def md5_of_listing(files: Mapping[str, str]) -> str:
    """Return the MD5 by which DVC names a folder: that of the list of its files in JSON.

    Args:
        files: The MD5 of each file, by its path in the folder.
    """
    listed = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
