"""The entries of dvc.lock: as they are, as they would be with the present code, and written back."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from capsnet.files import md5, write_whole
from pipeline.runtime.unrecorded import md5_of_listing
from pipeline.settings.reading import read_yaml

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

LOCK = Path("dvc.lock")
CODE = ("capsnet/", "pipeline/")  # the folders of code

LockEntry = dict[str, Any]  # of one stage in dvc.lock: cmd, deps, params, outs


class LockedStage(NamedTuple):
    """The entry of a stage in dvc.lock, and the entry that it would have with the present code and the same outputs."""

    stage: str
    then: LockEntry
    now: LockEntry

    @property
    def code(self) -> dict[str, str]:
        """The MD5 of each file and folder of code that the outputs were made with, as DVC writes it."""
        return {path: dep["md5"] for path, dep in _deps(self.then).items() if path.startswith(CODE)}

    @property
    def stale(self) -> bool:
        """Whether DVC would run the stage again."""
        return self.then != self.now

    @property
    def new_settings(self) -> list[str]:
        """The settings that the entry does not have yet, with their present values."""
        then, now = (_leaves(entry.get("params", {})) for entry in (self.then, self.now))
        added = [(place, value) for place, value in now.items() if place not in then or then[place] != value]
        return sorted(f"{'.'.join(place[1:])}: {value}" for place, value in added)


def read_lock() -> dict[str, LockEntry]:
    """Return the stages in dvc.lock. Raises ValueError if the file is damaged, or differs from the one in git."""
    if not LOCK.is_file():
        raise FileNotFoundError(f"{LOCK}: no such file in {Path.cwd()}; no stage ever ran here")
    from dvc.utils.serialize import load_yaml

    with _in_one_line():
        content = load_yaml(str(LOCK))
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise ValueError(f"{LOCK}: got no `stages`, expected a file that DVC wrote; git has an earlier version")
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", str(LOCK)], capture_output=True, text=True, check=False
    )
    if changed.returncode:
        raise ValueError(f"git: {changed.stderr.strip()}")
    if changed.stdout:
        raise ValueError(f"{LOCK}: got uncommitted changes, expected none; commit them first")
    return dict(content["stages"])


def locked_stages(names: Sequence[str], lock: Mapping[str, LockEntry], project: Path) -> list[LockedStage]:
    """Return the entries of stages in `lock`, and those that they would have with the code in the folder `project`.

    Raises ValueError if anything but code differs between the two: a command, data, outputs, or an old setting.
    """
    from dvc.repo import Repo

    with _in_one_line(), Repo() as repo:
        stages = {name: repo.stage.load_one(name=name) for name in names}
        return [
            LockedStage(name, lock[name], _present_entry(name, stages[name], lock[name], project)) for name in names
        ]


def write_lock(stages: Sequence[LockedStage]) -> None:
    """Write the present entries into dvc.lock, all or none, while DVC's own lock keeps DVC from writing it.

    Raises ValueError if one of the old entries has changed.
    """
    from dvc.repo import Repo
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    with _in_one_line(), Repo() as repo, repo.lock:
        content = parse_yaml_for_update(LOCK.read_text(encoding="utf-8"), str(LOCK))
        for each in stages:
            if content["stages"].get(each.stage) != each.then:
                raise ValueError(f"{LOCK}: {each.stage}: changed since this command began; nothing was written")
            content["stages"][each.stage].update({key: each.now[key] for key in ("deps", "params") if key in each.now})
        write_whole(LOCK, dumps_yaml(content))


def _present_entry(name: str, stage: "PipelineStage", then: LockEntry, project: Path) -> LockEntry:
    from dvc.dependency import ParamsDependency

    if stage.cmd != then["cmd"]:
        raise ValueError(f"{name}: cmd: got {stage.cmd!r}, expected {then['cmd']!r} as in {LOCK}")
    outs = sorted(out.def_path for out in stage.outs)
    if outs != sorted(out["path"] for out in then["outs"]):
        raise ValueError(f"{name}: outs: got {', '.join(outs)}, expected those in {LOCK}")
    files = {dep.def_path: dep for dep in stage.deps if not isinstance(dep, ParamsDependency)}
    deps = _deps(then)
    for path in sorted(files.keys() | deps.keys()):
        if path.startswith(CODE):
            continue
        if path not in files or path not in deps:
            where, other = ("dvc.yaml", LOCK) if path in files else (LOCK, "dvc.yaml")
            raise ValueError(f"{name}: {path}: only in {where}, expected in {other} too; no proof covers other data")
        if "modified" in files[path].workspace_status().values():
            raise ValueError(f"{name}: {path}: got other bytes than {LOCK} names, expected those")
    params = {
        dep.def_path: dict(sorted(dep.read_params().items())) for dep in stage.deps if isinstance(dep, ParamsDependency)
    }
    _require_settings(name, then.get("params", {}))
    now = {
        **then,
        "deps": [code_entry(path, project) if path.startswith(CODE) else deps[path] for path in sorted(files)],
    }
    if params != then.get("params", {}):
        now["params"] = params
    return now


def _require_settings(name: str, then: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError if an old setting is missing or has another value."""
    for file, keys in then.items():
        current = _leaves(read_yaml(Path(file)))
        for key, value in keys.items():
            for place, expected in _leaves(value, tuple(key.split("."))).items():
                where = f"{name}: {file}: {'.'.join(place)}"
                if place not in current:
                    raise ValueError(f"{where}: missing, expected {expected} as in {LOCK}")
                if current[place] != expected:
                    raise ValueError(f"{where}: got {current[place]}, expected {expected} as in {LOCK}")


def _leaves(values: Any, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return each value that is not a mapping, by the keys that lead to it."""
    if isinstance(values, Mapping) and values:
        return {
            inner: leaf for key, value in values.items() for inner, leaf in _leaves(value, (*place, str(key))).items()
        }
    return {place: values}


def _deps(entry: LockEntry) -> dict[str, LockEntry]:
    return {dep["path"]: dep for dep in entry["deps"]}


def code_entry(path: str, project: Path) -> LockEntry:
    """Return what dvc.lock says about a file or a folder of code."""
    place = project / path
    if place.is_file():
        return {"path": path, "hash": "md5", "md5": md5(place), "size": place.stat().st_size}
    files = {str(file.relative_to(place)): file for file in place.rglob("*") if _is_code(file)}
    return {
        "path": path,
        "hash": "md5",
        "md5": md5_of_listing({name: md5(file) for name, file in files.items()}),
        "size": sum(file.stat().st_size for file in files.values()),
        "nfiles": len(files),
    }


def _is_code(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Raise ValueError, with a message of one line, for an error of DVC."""
    from dvc.exceptions import DvcException

    try:
        yield
    except DvcException as error:
        raise ValueError(f"DVC: {' '.join(str(error).split())}") from error
