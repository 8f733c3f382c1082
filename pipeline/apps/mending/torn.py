"""The three files of DVC that a kill between two stages can leave torn, and how each is mended.

DVC writes dvc.lock and its rwlock in place, and puts an entry of the run cache beside its final name first. What is
torn is moved to `.dvc/tmp/torn/`, never deleted. So is a rwlock whose process was killed and is still listed: DVC asks
whether there is a process with that number, and a container may have nobody who waits for orphans.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from voluptuous import Invalid

from capsnet.files import write_whole

LOCK = "dvc.lock"
RWLOCK = Path(".dvc/tmp/rwlock")
ASIDE = Path(".dvc/tmp/torn")
CONFLICT = "<<<<<<<"  # a merge in git, which a person has to finish


class Torn(NamedTuple):
    """A torn file or folder."""

    path: Path
    what: str
    mend: Callable[[], str]  # returns what was done


def torn(root: Path) -> list[Torn]:
    """Return what is torn in a project. Nothing is changed."""
    return [*_lock(root), *_rwlock(root), *_run_cache(root)]


def _lock(root: Path) -> Iterator[Torn]:
    path = root / LOCK
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if CONFLICT not in text and _stages(text) is None:
        yield Torn(path, f"{LOCK} is cut off", lambda: _complete(root, path, text))


def _complete(root: Path, path: Path, text: str) -> str:
    """Keep the whole entries of a torn dvc.lock, and take the others from the last commit."""
    whole, committed = _whole_entries(text), _entries(_committed(root))
    stages = {**whole, **{name: entry for name, entry in committed.items() if name not in whole}}
    aside = _set_aside(root, path)
    if stages:
        from dvc.utils.serialize import dumps_yaml

        write_whole(path, dumps_yaml({"schema": "2.0", "stages": stages}))
    taken = len(stages) - len(whole)
    return (
        f"kept {len(whole)} whole entries, took {taken} from the last commit; the other stages come back from the run "
        f"cache. The torn file is {aside}"
    )


def _whole_entries(text: str) -> dict[str, Any]:
    """Return the entries before the last one that has begun, which may be cut off."""
    lines = text.splitlines(keepends=True)
    begun = [number for number, line in enumerate(lines) if line.startswith("  ") and line[2:3] not in (" ", "-", "")]
    return _entries("".join(lines[: begun[-1]])) if len(begun) > 1 else {}


def _entries(text: str) -> dict[str, Any]:
    """Return the entries in the text of a dvc.lock as DVC would write them back; none if DVC would refuse it."""
    from dvc.utils.serialize import parse_yaml_for_update

    return dict(parse_yaml_for_update(text, LOCK)["stages"]) if _stages(text) else {}


def _stages(text: str) -> dict[str, Any] | None:
    """Return the stages in the text of a dvc.lock; None if DVC would refuse it."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml

    try:
        return dict(COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, LOCK)).get("stages", {}))
    except (YAMLFileCorruptedError, Invalid, RecursionError):
        return None


def _committed(root: Path) -> str:
    """Return dvc.lock as it was committed last; empty if it was not."""
    shown = subprocess.run(["git", "show", f"HEAD:./{LOCK}"], cwd=root, capture_output=True, text=True, check=False)
    return shown.stdout if shown.returncode == 0 else ""


def _rwlock(root: Path) -> Iterator[Torn]:
    path = root / RWLOCK
    if not path.is_file():
        return
    from dvc.rwlock import SCHEMA

    try:
        names = SCHEMA(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, Invalid, RecursionError):
        yield Torn(
            path, f"{RWLOCK} is cut off", lambda: f"DVC makes it anew. The torn file is {_set_aside(root, path)}"
        )
        return
    entries = [*names["write"].values(), *(entry for readers in names["read"].values() for entry in readers)]
    blocking = sorted({entry["pid"] for entry in entries if psutil.pid_exists(entry["pid"])})  # as DVC asks
    if blocking and all(map(_is_zombie, blocking)):
        what = f"process {blocking[0]} has ended and still blocks DVC, because its parent does not wait for it"
        yield Torn(path, what, lambda: f"DVC goes on. What it left is {_set_aside(root, path)}")


def _is_zombie(process: int) -> bool:
    """Tell whether a process has ended and is still listed; not if the system does not show it."""
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _run_cache(root: Path) -> Iterator[Torn]:
    """Yield the half-written entries of the run cache, and folders in it without an entry.

    DVC looks at the newest file of a folder only, so a half-written entry also hides the whole ones.
    """
    for folder in _cache(root).glob("runs/??/*"):
        if not folder.is_dir():
            continue
        entries = [*folder.iterdir()]
        half = [path for path in entries if path.suffix == ".tmp"]
        if half or not entries:
            yield Torn(folder, "an entry of the run cache is half-written", partial(_clear, root, folder))


def _clear(root: Path, folder: Path) -> str:
    done = "removed the empty folder"
    for path in [each for each in folder.iterdir() if each.suffix == ".tmp"]:
        done = f"the half is {_set_aside(root, path)}"
    if not any(folder.iterdir()):
        folder.rmdir()
    return done


def _cache(root: Path) -> Path:
    """Return the folder of DVC's cache, which a configuration of DVC may have put elsewhere.

    Raises ValueError if DVC cannot read a configuration.
    """
    from dvc.config import Config, ConfigError

    try:
        config = Config(root / ".dvc")
    except ConfigError as error:
        raise ValueError(f"DVC: {' '.join(str(error).split())}") from error
    return Path(config["cache"].get("dir", root / ".dvc" / "cache"))


def _set_aside(root: Path, path: Path) -> Path:
    """Move a file to the folder of torn files, and return its new path relative to the project."""
    folder = root / ASIDE
    folder.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{path.name.lstrip('.')}-{stamp}{f'-{number}' if number else ''}" for number in range(10**6))
    target = next(folder / name for name in names if not (folder / name).exists())
    path.replace(target)
    return target.relative_to(root)
