"""DVC's own files, torn by a kill: DVC goes on after `mend`, and what was there comes back to the byte."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from errands import Errands
from tiny_project import ROOT

from pipeline.apps.mend import mend, project
from pipeline.apps.mending.torn import ASIDE, RWLOCK, torn

DVC = (sys.executable, "-m", "dvc")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Errands:
    """A project whose stages DVC has run; its first three entries of dvc.lock are committed."""
    errands = Errands(tmp_path_factory.mktemp("finished") / "project")
    errands.make()
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    errands.call(*DVC, "repro", "-q", "train@b")
    errands.call("git", "add", "--all")
    errands.call("git", *identity, "commit", "--quiet", "-m", "first")
    errands.call(*DVC, "repro", "-q")
    return errands


@pytest.fixture
def errands(finished: Errands, tmp_path: Path) -> Errands:
    """A copy of the finished project."""
    return Errands(shutil.copytree(finished.folder, tmp_path / "project", symlinks=True))


def lock_of(errands: Errands) -> Path:
    return errands.folder / "dvc.lock"


def tries(errands: Errands) -> dict[str, str]:
    """Return what ran; without the report, whose output is in no cache."""
    kept = [path for path in (errands.folder / "tries").iterdir() if path.name not in ("report", "stamp")]
    return {path.name: path.read_text() for path in kept}


def goes_on(errands: Errands, whole: dict[str, bytes]) -> None:
    """DVC runs nothing again, and all that it made is as before."""
    before = tries(errands)
    errands.call(*DVC, "repro", "-q")
    assert errands.made() == whole
    assert tries(errands) == before


# Where the file is cut: at nothing, in its head, in the first entry, in a committed one, in later ones, in the last.
@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.002, 0.1, 0.5, 0.97])
def test_a_torn_lock_file_is_completed_and_the_same_bytes_come_back(share: float, errands: Errands) -> None:
    whole, path = errands.made(), lock_of(errands)
    text = path.read_bytes()
    cut = int(share * len(text))
    if share >= 0.1:  # in the middle of a word: what ends with a whole line, DVC takes for a whole file
        cut = text.rindex(b"\n      siz", 0, cut) + 9
    path.write_bytes(text[:cut])
    errands.call(*DVC, "status", status=1)
    (line,) = mend(errands.folder)
    assert line.startswith("dvc.lock: dvc.lock is cut off: kept ")
    (aside,) = (errands.folder / ASIDE).iterdir()
    assert aside.read_bytes().startswith(text[:cut])
    goes_on(errands, whole)
    assert mend(errands.folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "{", '{"write": {"a": {"pid": 1, ', "[]"])
def test_a_torn_rwlock_is_set_aside(content: str, errands: Errands) -> None:
    whole = errands.made()
    (errands.folder / RWLOCK).write_text(content)
    (errands.folder / "source.txt").touch()
    (line,) = mend(errands.folder)
    assert line.startswith(".dvc/tmp/rwlock: ")
    goes_on(errands, whole)


def held_by(*processes: int, path: str = "/a") -> str:
    """Return the content of a rwlock in which the first process writes a path, and the others read another one."""
    first, *others = ({"pid": process, "cmd": "dvc repro"} for process in processes)
    return json.dumps({"write": {path: first}, "read": {"/b": others}})


@pytest.mark.slow
def test_a_process_that_ended_and_that_nobody_waited_for_blocks_dvc_until_it_is_mended(errands: Errands) -> None:
    whole = errands.made()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
        (errands.folder / RWLOCK).write_text(held_by(ended.pid, path=str(errands.folder / "prepared.txt")))
        (errands.folder / "prepared.txt").unlink()
        assert "is busy" in errands.call(*DVC, "repro", status=255)
        (line,) = mend(errands.folder)
        assert line.startswith(f".dvc/tmp/rwlock: process {ended.pid} has ended")
        goes_on(errands, whole)


def test_a_rwlock_that_also_a_living_process_holds_is_left_alone(tmp_path: Path) -> None:
    rwlock = torn_project(tmp_path) / RWLOCK
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        rwlock.write_text(held_by(ended.pid, os.getpid()))
        assert mend(tmp_path) == []
        rwlock.write_text(held_by(ended.pid))
        assert len(mend(tmp_path)) == 1
    rwlock.write_text(held_by(ended.pid))  # DVC sees by itself that this one is gone
    assert mend(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "a half", "a half beside a whole entry"])
def test_a_half_written_entry_of_the_run_cache_is_set_aside(left: str, errands: Errands) -> None:
    whole = errands.made()
    entry = next(path for path in sorted((errands.folder / ".dvc/cache/runs").glob("??/*/*")) if not path.suffix)
    half = entry.with_name(".abcdef.tmp")
    if left != "nothing":
        half.write_text(entry.read_text()[:20])
    if left != "a half beside a whole entry":
        entry.unlink()
    lock_of(errands).write_text("schema: '2.0'\n")
    (line,) = mend(errands.folder)
    assert ".dvc/cache/runs/" in line
    assert entry.parent.exists() == entry.exists()
    errands.call(*DVC, "repro", "-q")
    made = errands.made()
    del made["dvc.lock"], whole["dvc.lock"]  # its order is another: this one has no committed entries
    assert made == whole


def torn_project(folder: Path) -> Path:
    (folder / ".dvc/tmp").mkdir(parents=True)
    (folder / RWLOCK).touch()
    return folder


def test_nothing_is_touched_while_dvc_works_here(tmp_path: Path) -> None:
    torn_project(tmp_path)
    (tmp_path / "dvc").write_text("import time\nprint(flush=True)\ntime.sleep(100)\n")
    at_work = subprocess.Popen([sys.executable, "dvc"], cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        assert at_work.stdout is not None
        at_work.stdout.readline()
        assert mend(tmp_path) == [f"DVC works here (process {at_work.pid}); its files are left alone"]
        assert mend(torn_project(tmp_path / "another")) != []
    finally:
        at_work.kill()
        at_work.communicate()
    assert (tmp_path / RWLOCK).exists()
    assert len(mend(tmp_path)) == 1
    assert not (tmp_path / RWLOCK).exists()


def test_nothing_is_touched_while_dvc_holds_its_lock(tmp_path: Path) -> None:
    import zc.lockfile  # type: ignore[import-untyped]

    torn_project(tmp_path)
    held = zc.lockfile.LockFile(str(tmp_path / ".dvc/tmp/lock"))
    assert mend(tmp_path) == ["DVC works here; its files are left alone"]
    held.close()
    assert len(mend(tmp_path)) == 1


def test_a_merge_that_is_not_finished_is_left_to_its_person(tmp_path: Path) -> None:
    torn_project(tmp_path)
    (tmp_path / RWLOCK).write_text(json.dumps({}))
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n<<<<<<< ours\nstages:\n")
    assert mend(tmp_path) == []


@pytest.mark.parametrize("level", ["system", "global", "repo", "local"])
def test_the_cache_is_found_where_a_configuration_puts_it(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = torn_project(tmp_path / "project")
    (root / RWLOCK).unlink()
    for name in ("system", "global"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"DVC_{name.upper()}_CONFIG_DIR", str(tmp_path / name))
    files = {"repo": root / ".dvc/config", "local": root / ".dvc/config.local"}
    file = files.get(level, tmp_path / level / "config")
    file.write_text("[cache]\n    dir = ../elsewhere\n['remote \"x\"']\n    url = /x\n")
    (file.parent / "../elsewhere/runs/ab/abc").resolve().mkdir(parents=True)
    assert [each.path.name for each in torn(root)] == ["abc"]


def test_a_configuration_that_dvc_cannot_read_is_one_line(tmp_path: Path) -> None:
    torn_project(tmp_path)
    (tmp_path / ".dvc/config").write_text("[cache\n")
    with pytest.raises(ValueError, match=r"^DVC: .") as caught:
        torn(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_command_is_silent_where_nothing_is_torn_and_finds_the_project_from_below(tmp_path: Path) -> None:
    (torn_project(tmp_path) / "below").mkdir()
    command = [sys.executable, "-m", "pipeline.apps.mend"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for said in ("mend: .dvc/tmp/rwlock: ", ""):
        ended = subprocess.run(
            command, cwd=tmp_path / "below", env=environment, capture_output=True, text=True, check=True
        )
        assert ended.stderr.startswith(said) if said else not ended.stderr
        assert not ended.stdout


def test_a_folder_outside_of_every_project_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^you are not inside of a DVC repository") as caught:
        project()
    assert "\n" not in str(caught.value)


def test_every_target_that_calls_dvc_mends_first() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    calls = [number for number, line in enumerate(lines) if line.startswith("\tdvc repro")]
    assert len(calls) == 3
    assert {lines[number - 1] for number in calls} == {"\tpython -m pipeline.apps.mend"}
