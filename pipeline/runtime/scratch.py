"""Working files of a stage that can be interrupted: `.scratch/<stage>/<name>/<owner>-<fingerprint>/`.

The fingerprint covers settings, code, data and the version of torch, so a stage never resumes from something stale.
The owner stands for one output of the workspace or of one experiment. When a stage succeeds, the folders that earlier
settings of the same owner left are removed. Its own folder is removed as soon as DVC has recorded the output, or at
once if no DVC will (unrecorded.py).
"""

import hashlib
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.runtime.locks import LOCK, holder, is_held, try_existing, try_lock
from pipeline.runtime.unrecorded import ENDED, keep, remove_recorded, take_up
from pipeline.runtime.workspace import SCRATCH, owner, root

RUNS_CLOSED = "runs-closed"  # the note in the folder of a killed stage: MLflow has no open run of it any more
TICK = 0.2  # seconds between two looks at a lock that is about to become free


def fingerprint(*facts: object) -> str:
    """Return 12 hexadecimal digits that identify the facts, the library's code and the version of torch.

    The data is covered by its MD5 among the facts.
    """
    import torch

    digest = hashlib.sha256(repr((*facts, f"torch {torch.__version__}")).encode())
    for path in sorted(Path("capsnet").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def scratch_folder(stage: str, name: str, of_owner: str, key: str) -> Path:
    """Return the folder of a stage's working files, which may not exist."""
    return root() / SCRATCH / stage / name / f"{of_owner}-{key}"


@contextmanager
def scratch(stage: str, name: str, output: Path, key: str, *, shared: bool = False) -> Iterator[Path]:
    """Lock the scratch folder and yield it; on success remove it, or leave it until DVC has recorded the output.

    The abandoned folders of this owner are removed on success.

    Args:
        stage: The stage.
        name: What the stage was called with: a run, or a search.
        output: What the stage makes. It identifies the owner.
        key: The fingerprint.
        shared: Another process of the same training holds the folder and will remove it.

    If a process holds the folder whose DVC is gone, this waits for the end of that process: it ends at its next
    checkpoint. Raises ValueError if any other process holds the folder.
    """
    of_owner = owner(output)
    folder = scratch_folder(stage, name, of_owner, key)
    if shared:
        yield folder
        return
    remove_recorded()
    with _held(f"{stage} {name}", folder / LOCK):
        (folder / RUNS_CLOSED).unlink(missing_ok=True)
        if take_up(folder):
            print(
                f"{stage} {name}: it had ended, but DVC did not record it: continuing from its last state",
                file=sys.stderr,
            )
        yield folder
        if not keep(folder, output):
            shutil.rmtree(folder)
    for other in set(folder.parent.glob(f"{of_owner}-*")) - {folder}:
        abandoned = try_lock(other / LOCK)
        if abandoned is not None:
            with abandoned:
                shutil.rmtree(other)


def left_by_kills(stage: str) -> list[Path]:
    """Return the folders that killed processes of a stage left, unless `note_closed` has noted them."""
    folders = [path.parent for path in (root() / SCRATCH / stage).glob(f"*/*/{LOCK}")]
    unnoted = [each for each in folders if not (each / ENDED).exists() and not (each / RUNS_CLOSED).exists()]
    return [each for each in unnoted if not is_held(each / LOCK)]


def note_closed(folder: Path) -> None:
    """Note that MLflow has no open run of the process that left this folder, unless another process uses it now."""
    if (held := try_existing(folder / LOCK)) is not None:
        with held:
            (folder / RUNS_CLOSED).touch()


def _held(what: str, path: Path) -> IO[str]:
    """Return the open file that holds the lock."""
    if (held := try_lock(path)) is not None:
        return held
    time.sleep(TICK)  # another stage may hold it for the moment in which it looks whether anybody does
    waits_for = 0
    while (held := try_lock(path)) is None:
        other = holder(path)
        if other is None or not other.orphaned:
            advice = f"wait until it ends, or end it with `kill {other.process}`" if other else "wait until it ends"
            raise ValueError(
                f"{what} is already running in {other or 'another process'} (lock {path}); {advice} and start this "
                "command again: it continues from the last checkpoint"
            )
        if other.process != waits_for:
            waits_for = other.process
            print(f"{what}: waiting for {other}; its DVC is gone, so it ends at its next checkpoint", file=sys.stderr)
        time.sleep(TICK)
    return held
