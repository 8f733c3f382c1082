"""The proof that a change of the code changes no number: what it accepts, and what it refuses."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from proofs import (
    LOCK,
    LOSSES,
    ROOM,
    STAGES,
    called,
    commit,
    edit,
    environment,
    move_the_losses,
    say_more,
    set_run,
    write_made_up_lock,
)

from pipeline.apps import prove
from pipeline.apps.proving.commits import ancestors
from pipeline.apps.proving.lock_file import code_entry, read_lock
from pipeline.runtime.command_line import run_stage


def proved(*arguments: str, status: int = 0) -> list[str]:
    return called("python", "-m", "pipeline.apps.prove", *arguments, status=status).splitlines()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_code_that_moved_is_named_for_the_models_that_there_are(trained: Path) -> None:
    before = read_lock()
    then = called("git", "rev-parse", "--short=7", "HEAD").strip()
    move_the_losses()
    assert "changed deps" in called("dvc", "status", STAGES[1])
    first, second = proved("toy-fc")
    assert first == (
        f"toy-fc: equal to the byte since {then}: seed 1, 45 steps in 15 epochs, resumed after epoch 7; 40 tensors; "
        "scores of 12 images, also of the models in models/toy-fc"
    )
    assert second == "dvc.lock names the present code for train@toy-fc, evaluate@toy-fc"
    assert called("dvc", "status", STAGES[1]).strip() == "Data and pipelines are up to date."
    commit("Move")
    after = read_lock()
    for name in STAGES:
        there, here = ({dep["path"]: dep for dep in entries[name].pop("deps")} for entries in (before, after))
        changed = {path for path in there.keys() | here.keys() if there.get(path) != here.get(path)}
        assert changed == {ROOM}
    assert before == after
    # In a fresh clone neither models nor data are at hand.
    for folder in ("models", "data", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(folder)
    said = called("dvc", "repro", "--allow-missing", "--dry", STAGES[1])
    assert "Running" not in said, said
    assert proved("toy-fc") == ["toy-fc: dvc.lock names the present code already"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_whose_learning_rate_depends_on_the_epochs_is_killed_and_resumed(repository: Path) -> None:
    set_run(lr_schedule="one_cycle", lr_decay=1.0, lr_floor=0.0)
    write_made_up_lock()
    then = commit("One cycle")[:7]
    move_the_losses()
    first, _ = proved("toy-fc", "--steps", "150")
    assert first.startswith(f"toy-fc: equal to the byte since {then}: seed 1, ")
    assert ", resumed after epoch " in first


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_rounding_is_refused_and_changes_nothing(trained: Path) -> None:
    there = LOCK.read_bytes()
    loss = "loss = (self.config.margin_weight * mloss + self.plan.alpha * rloss).sum() / size"
    edit(Path("capsnet/training/step.py"), loss, f"{loss} * (1 + 1e-7)")
    shutil.rmtree("models")  # a user who has but the lock
    first, second = proved("toy-fc", status=1)
    then = called("git", "rev-parse", "--short=7", "HEAD").strip()
    assert first.startswith(f"toy-fc: differs from {then}: ")
    assert "after step 21: model." in first
    assert second == "dvc.lock is unchanged"
    assert LOCK.read_bytes() == there
    assert len(called("git", "worktree", "list").splitlines()) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_interrupted_proof_leaves_no_worktree(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = LOCK.read_bytes()
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    move_the_losses()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.apps.prove", "toy-fc"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        # A shell that is not interactive lets its children ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not [*temporary.glob("*/mlflow.db")] and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        listed = called("git", "worktree", "list").splitlines()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=100)
    finally:
        process.kill()
    assert len(listed) == 2
    assert said.splitlines()[-1] == "interrupted; dvc.lock is unchanged"
    assert process.returncode == 1
    assert len(called("git", "worktree", "list").splitlines()) == 1
    assert [*temporary.glob("capsnet-prove-*")] == []  # torch leaves a folder of its own
    assert LOCK.read_bytes() == there


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which has to end with status 2 and one line, and to change nothing; return the line."""
    before = LOCK.read_bytes()
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(prove.main, arguments or ("toy-fc",)))
    said = capsys.readouterr()
    assert (ended.value.code, said.out, len(said.err.splitlines())) == (2, "", 1), said
    assert LOCK.read_bytes() == before
    return said.err


def test_code_that_no_commit_has_is_refused_with_what_comes_nearest(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = code_entry(ROOM, Path())["md5"].removesuffix(".dir")
    LOCK.write_text(LOCK.read_text().replace(digest, "a" * 32))
    commit("Forge")
    said = f"commit {ancestors()[0][:7]}: {ROOM}: got other code, expected what dvc.lock names"
    assert said in refused(capsys)
    assert said in refused(capsys, "toy-fc", "--since", "HEAD")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy-deconv"], "dvc.lock: no train@toy-deconv: it was never trained; `dvc repro train@toy-deconv` trains it"),
        (["toy-fc", "nobody"], "run: got 'nobody', expected one of toy-attention, "),
        (["toy-fc", "--since", "beginning"], "--since: got 'beginning', expected a commit of this repository"),
        (["toy-fc", "--since", "--all"], "--since: got '--all', expected a commit of this repository"),
        (["toy-fc", "--steps", "29"], "--steps: got 29, expected at least 30"),
        (["toy-fc", "--images", "0"], "--images: got 0, expected at least 1"),
    ],
)
def test_what_cannot_be_proved_is_refused_in_one_line(
    arguments: list[str], said: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--all" in arguments:
        arguments = ["toy-fc", "--since=--all"]
    assert refused(capsys, *arguments).startswith(f"error: {said}")


def test_a_lock_that_git_does_not_have_is_refused(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = LOCK.read_text()
    LOCK.write_text(f"{whole}# mine\n")
    assert "dvc.lock: got uncommitted changes, expected none; commit them first" in refused(capsys)
    LOCK.write_text(f"{whole}  train@toy: [")
    assert "YAML file structure is corrupted" in refused(capsys)
    LOCK.write_text("torn")
    assert "dvc.lock: got no `stages`" in refused(capsys)
    LOCK.unlink()
    with pytest.raises(FileNotFoundError, match=r"dvc\.lock: no such file"):
        read_lock()


def test_other_settings_data_or_commands_are_refused(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params, dvc, data = (Path(name) for name in ("params.yaml", "dvc.yaml", "data/squares.npz"))
    kept = {path: path.read_bytes() for path in (params, dvc, data)}

    def says() -> str:
        said = refused(capsys)
        for path, content in kept.items():
            path.write_bytes(content)
        return said

    set_run(lr=0.02)
    assert "train@toy-fc: params.yaml: runs.toy-fc.lr: got 0.02, expected 0.01 as in dvc.lock" in says()
    data.write_bytes(b"others")
    assert "train@toy-fc: data/squares.npz: got other bytes than dvc.lock names, expected those" in says()
    dvc.write_bytes(kept[dvc].replace(b"pipeline.train ${key}", b"pipeline.train ${key} --device cpu"))
    assert "train@toy-fc: cmd: got 'python -m pipeline.train toy-fc --device cpu', expected" in says()
    dvc.write_bytes(kept[dvc].replace(b'outs: ["models/${key}"]', b'outs: ["models/${key}", more]'))
    assert "train@toy-fc: outs: got models/toy-fc, more, expected those in dvc.lock" in says()
    dvc.write_bytes(kept[dvc].replace(f" {ROOM},".encode(), b" requirements.lock,"))
    assert "train@toy-fc: requirements.lock: only in dvc.yaml, expected in dvc.lock too" in says()
    data.unlink()
    say_more(LOSSES)
    kept[LOSSES] = LOSSES.read_bytes()
    assert "data/squares.npz: no such file; `dvc repro prepare@squares` makes it" in says()
