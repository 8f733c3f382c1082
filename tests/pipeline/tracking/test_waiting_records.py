"""What a store did not take waits in a file, for a later process."""

import json
import shutil
import time
from pathlib import Path

import pytest
from disks import full_for_a_moment
from lost_store import TAGS, assert_recorded, away, query, record, waiting

from pipeline.runtime.workspace import SCRATCH
from pipeline.tracking import outbox
from pipeline.tracking.delivery import ATTACH, LOG
from pipeline.tracking.mlflow_run import record_run
from pipeline.tracking.recorder import MlflowRecorder


def test_what_the_store_never_took_is_written_when_the_next_stage_opens_it(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with away(store):
        record()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"warning: MLflow: sqlite:///{store} cannot be used: ")
    assert query("select count(*) from runs") == [(0,)]
    began = time.time() * 1000
    time.sleep(0.01)
    outbox.open_delivery()
    assert capsys.readouterr().err == "MLflow: recorded what was missing of parent, child\n"
    assert_recorded()
    times = query("select start_time, end_time from runs")
    assert all(start <= end <= began for start, end in times)  # when it happened, not when it was written


def test_a_process_that_is_killed_while_the_store_is_away_leaves_what_it_recorded(store: Path) -> None:
    """And a file whose last line is torn."""
    run = record_run("test", "trial", tags={"kind": "trial"})
    with away(store):
        recorder = run.__enter__()
        recorder.log(1, {"loss": 1.0})
        assert isinstance(recorder, MlflowRecorder)
        recorder._outbox.close()  # as the system does for a killed process
        (left,) = waiting()
        left.write_text(left.read_text() + '{"kind": "lo')
    outbox.open_delivery()
    assert query("select key, value from metrics") == [("loss", 1.0)]
    assert waiting() == []


def test_what_a_living_process_keeps_is_left_to_it(store: Path) -> None:
    with record_run("test", "x", tags={"kind": "run"}) as run:
        with away(store):
            run.log(1, {"loss": 1.0})
        outbox.open_delivery()
        assert len(waiting()) == 1
        assert query("select count(*) from metrics") == [(0,)]
    assert query("select key from metrics where key = 'loss'") == [("loss",)]


def test_a_late_record_ends_no_run_that_began_after_it(store: Path) -> None:
    with away(store), record_run("test", "late", tags=TAGS, resume=True):
        pass
    shutil.move(Path(SCRATCH) / outbox.UNRECORDED, "later")
    new = record_run("test", "new", tags={**TAGS, "fingerprint": "g"}, resume=True)
    new.__enter__()
    same = record_run("test", "same", tags={**TAGS, "output": "models/y"}, resume=True)
    same.__enter__()
    shutil.move("later", Path(SCRATCH) / outbox.UNRECORDED)
    outbox.open_delivery()
    states = query("select name, status from runs order by name")
    assert states == [("late", "FINISHED"), ("new", "RUNNING"), ("same", "RUNNING")]


def test_a_file_that_makes_no_sense_is_set_aside_and_holds_up_nothing(store: Path) -> None:
    folder = outbox.folder()
    folder.mkdir(parents=True)
    (folder / "1.jsonl").write_text(json.dumps({"kind": "log", "key": "k", "values": {}, "sent": False}) + "\n")
    with record_run("test", "x", tags=TAGS):
        pass
    assert query("select name, status from runs") == [("x", "FINISHED")]
    assert [path.name for path in waiting()] == ["1.refused"]


def test_what_waits_for_one_store_is_not_given_to_another(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with away(store):
        record()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(store, tmp_path / 'other.db')}")
    outbox.open_delivery()
    assert query("select count(*) from runs") == [(0,)]
    assert waiting() != []
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    outbox.open_delivery()
    assert_recorded()


def test_a_disk_on_which_nothing_can_be_kept_ends_no_stage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(SCRATCH) / outbox.UNRECORDED).parent.mkdir(exist_ok=True)
    (Path(SCRATCH) / outbox.UNRECORDED).write_text("not a folder")
    with record_run("test", "x", tags=TAGS) as run, away(store):
        run.log(1, {"loss": 1.0})
    assert query("select key from metrics where key = 'loss'") == [("loss",)]


def test_after_a_moment_without_room_files_and_what_follows_them_are_kept(project: Path) -> None:
    for name in ("first.csv", "second.csv"):
        Path(name).write_text(name)
    paths = [str(Path(name).resolve()) for name in ("first.csv", "second.csv")]
    entries = [outbox.Entry(ATTACH, "run", {"paths": paths}), outbox.Entry(LOG, "run", {"step": 1})]
    kept = outbox.Waiting()
    with full_for_a_moment():
        kept.keep(entries)
    assert [path.stat().st_size for path in waiting() if path.suffix == ".jsonl"] == [0]
    kept.keep(entries)
    assert_kept(kept)


def test_files_of_which_only_the_first_could_be_kept_are_all_kept_later(project: Path) -> None:
    Path("first.csv").write_text("first.csv")
    paths = [str(Path(name).resolve()) for name in ("first.csv", "second.csv")]
    entries = [outbox.Entry(ATTACH, "run", {"paths": paths}), outbox.Entry(LOG, "run", {"step": 1})]
    kept = outbox.Waiting()
    kept.keep(entries)
    assert "first.csv" in [path.name for path in waiting()]
    Path("second.csv").write_text("second.csv")
    kept.keep(entries)
    assert_kept(kept)


def assert_kept(kept: outbox.Waiting) -> None:
    """Check that a later process finds both entries, and the two files of the first one."""
    kept.close()
    (file,) = (path for path in waiting() if path.suffix == ".jsonl")
    with file.open() as opened:
        entries = {entry.kind: entry.values for entry in outbox._read(opened)}
    assert entries[LOG] == {"step": 1}
    assert [Path(path).read_text() for path in entries[ATTACH]["paths"]] == ["first.csv", "second.csv"]
    assert all(Path(path).is_relative_to(Path(SCRATCH).resolve()) for path in entries[ATTACH]["paths"])
