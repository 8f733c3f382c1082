"""The project's folder, and who in it owns an output: the workspace itself, or one experiment of DVC.

DVC runs an experiment (`dvc exp run --temp`, or one from its queue) in a copy of the project. Working files and the
MLflow store lie in the real project all the same. So each of them notes its owner, and nobody resumes or removes what
belongs to another owner.
"""

import hashlib
import os
import uuid
from pathlib import Path

from capsnet.files import write_whole
from pipeline.runtime.locks import lock

SCRATCH = ".scratch"  # the folder of working files
WORKSPACE = "workspace"  # the file in it with the identity of the project's folder


def root() -> Path:
    """Return the top folder of the project; in an experiment of DVC that of the real project, not of its copy."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def owner(output: Path) -> str:
    """Return 12 hexadecimal digits that identify this output of this workspace or experiment.

    They stay the same when the project's folder is moved. An experiment is known by its name: it keeps its identity
    from one attempt to the next only if the user named it (`dvc exp run --name`).
    """
    with lock(root() / SCRATCH / f"{WORKSPACE}.lock"):
        facts = (_workspace(), _experiment(), _relative(output))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def _workspace() -> str:
    """Return the identity of the project's folder, drawn at random once.

    The file also names its folder. If the named folder is another one that has the same identity, this folder is a copy
    of it and gets an identity of its own.
    """
    file = root() / SCRATCH / WORKSPACE
    identity, _, noted = _read(file).partition(" ")
    if identity and noted == str(root()):
        return identity
    is_copy = _read(Path(noted) / SCRATCH / WORKSPACE).startswith(f"{identity} ")
    if not identity or is_copy:
        identity = uuid.uuid4().hex
    write_whole(file, os.fsencode(f"{identity} {root()}"))
    return identity


def _read(path: Path) -> str:
    return os.fsdecode(path.read_bytes()) if path.is_file() else ""


def _experiment() -> str:
    """Return the name of DVC's experiment, or its folder if it has no name; nothing in the workspace itself."""
    here = Path.cwd().resolve()
    return "" if here == root() else os.environ.get("DVC_EXP_NAME") or str(here)


def _relative(output: Path) -> str:
    """Return the path relative to the working directory, or the full path if it lies outside."""
    here, full = Path.cwd().resolve(), output.resolve()
    return str(full.relative_to(here) if full.is_relative_to(here) else full)
