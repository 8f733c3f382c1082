"""Working files of a stage that can be interrupted: `.scratch/<stage>/<name>/<owner>-<fingerprint>/`.

The fingerprint covers settings, code, data and the version of torch, so a stage never resumes from something stale.
The owner stands for one output of the workspace or of one experiment. When a stage succeeds, its folder is removed,
together with the folders that earlier settings of the same owner left.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.runtime.locks import try_lock
from pipeline.runtime.workspace import SCRATCH, owner, root

LOCK = "lock"


def fingerprint(*facts: object) -> str:
    """Return 12 hexadecimal digits that identify the facts, the library's code and the version of torch.

    The data is covered by its MD5 among the facts.
    """
    import torch

    digest = hashlib.sha256(repr((*facts, f"torch {torch.__version__}")).encode())
    for path in sorted(Path("capsnet").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def scratch(stage: str, name: str, output: Path, key: str, *, shared: bool = False) -> Iterator[Path]:
    """Lock the scratch folder and yield it; on success remove it, and the abandoned ones of this owner.

    Args:
        stage: The stage.
        name: What the stage was called with: a run, or a search.
        output: What the stage makes. It identifies the owner.
        key: The fingerprint.
        shared: Another process of the same training holds the folder and will remove it.

    Raises ValueError if a process of another training holds the folder: killing `dvc` does not kill its stage.
    """
    of_owner = owner(output)
    folder = root() / SCRATCH / stage / name / f"{of_owner}-{key}"
    if shared:
        yield folder
        return
    held = try_lock(folder / LOCK)
    if held is None:
        raise ValueError(f"{stage} {name} is already running in another process (lock {folder / LOCK})")
    with held:
        yield folder
        shutil.rmtree(folder)
    for other in folder.parent.glob(f"{of_owner}-*"):
        abandoned = try_lock(other / LOCK)
        if abandoned is not None:
            with abandoned:
                shutil.rmtree(other)
