"""Mend the files of DVC that a kill at a bad moment leaves torn: dvc.lock, .dvc/tmp/rwlock, entries of the run cache.

    python -m pipeline.apps.mend          (or: make mend)

With such a file every command of DVC ends with the same error: "validation failed" or a YAML error in dvc.lock; "JSON
structure is corrupted"; "join() argument must be str ... not 'NoneType'"; "is busy, it is being blocked by" a process
that was killed. A torn file is moved to .dvc/tmp/torn/, and nothing is lost: whole entries of dvc.lock are kept, those
that are missing come from the last commit, and all others from the run cache. If nothing is torn, nothing is changed or
printed. While DVC works in this project, its files are left alone. `make demo`, `make paper`, `make site`,
`pipeline.apps.cluster` and `mlflow run` do this first.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.apps.mending.at_work import kept_away, processes
from pipeline.apps.mending.torn import torn
from pipeline.runtime.command_line import parser, run_stage


def mend(root: Path) -> list[str]:
    """Mend what is torn in the project, and return a line for each file. Nothing happens while DVC works there."""
    if not torn(root):
        return []
    if busy := processes(root):
        return [f"DVC works here (process {busy[0]}); its files are left alone"]
    with kept_away(root) as free:
        if not free:
            return ["DVC works here; its files are left alone"]
        return [f"{each.path.relative_to(root)}: {each.what}: {each.mend()}" for each in torn(root)]


def mend_and_say(root: Path) -> None:
    """Mend what is torn in the project, and print a line for each file."""
    for line in mend(root):
        print(f"mend: {line}", file=sys.stderr)


def project() -> Path:
    """Return the top folder of the project. Raises ValueError if DVC knows none here."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return Path(Repo.find_root())
    except NotDvcRepoError as error:
        raise ValueError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser(__doc__).parse_args(argv)
    mend_and_say(project())


if __name__ == "__main__":
    run_stage(main)
