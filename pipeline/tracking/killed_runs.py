"""Runs of trainings that were killed with -9 and that nobody has started again: they end as KILLED.

A training that is started again continues its run. But if DVC has recorded the models of an earlier training, it starts
no other, and the run would stay RUNNING for good.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.runtime.locks import LOCK, is_held
from pipeline.runtime.scratch import left_by_kills, note_closed, scratch_folder
from pipeline.tracking.delivery import KILLED
from pipeline.tracking.run_search import find_everywhere

if TYPE_CHECKING:
    from mlflow import MlflowClient

STAGE = "train"


def end_runs_of_killed(client: "MlflowClient") -> None:
    """Set to KILLED the open runs of trainings whose working files are here, and whose lock nobody holds."""
    folders = left_by_kills(STAGE)
    for run in find_everywhere(client, {"stage": STAGE}, status="RUNNING"):
        if _is_dead(run.data.tags):
            client.set_terminated(run.info.run_id, KILLED)
    with suppress(OSError):  # a disk that cannot be written: the next stage looks again
        for folder in folders:
            note_closed(folder)


def _is_dead(tags: Mapping[str, str]) -> bool:
    """Tell whether a training left its working files in this project, and no process holds them."""
    parts = [tags.get(name, "") for name in ("run", "owner", "fingerprint")]
    if not all(part and Path(part).name == part for part in parts):
        return False
    name, owner, key = parts
    path = scratch_folder(STAGE, name, owner, key) / LOCK
    return path.exists() and not is_held(path)
