"""The proof that a change of the code changes no number, and what it writes into dvc.lock."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from tiny_project import ROOT, make_project, tiny_params, write_params

from pipeline.apps import prove
from pipeline.apps.proving.commits import commits_of, differing, history
from pipeline.apps.proving.differences import of_metrics, of_rows, of_tensors
from pipeline.apps.proving.locked import Locked, code_entry, locked, read_lock, write_lock
from pipeline.apps.proving.trial import planned
from pipeline.runtime.command_line import run_stage

LOCK = Path("dvc.lock")
LOSSES = Path("capsnet/networks/losses.py")
ROOM = "capsnet/networks"  # what dvc.yaml names
STAGES = ("train@toy-fc", "evaluate@toy-fc")
FOR_ALL = {"brightness": 10.0, "flip": True, "seeds": [1]}


def called(*command: str, status: int = 0) -> str:
    """Run a command that has to end with a status; return what it said."""
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}


def proved(*arguments: str, status: int = 0) -> list[str]:
    return called(sys.executable, "-m", "pipeline.apps.prove", *arguments, status=status).splitlines()


def commit(message: str) -> str:
    called("git", "add", "--all")
    author = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    called("git", *author, "commit", "--quiet", "--message", message)
    return called("git", "rev-parse", "HEAD").strip()


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1, path
    path.write_text(text.replace(before, after))


def say_more(path: Path) -> None:
    path.write_text(f"{path.read_text()}# It says more.\n")


def set_run(**settings: Any) -> None:
    params = YAML(typ="safe", pure=True).load(Path("params.yaml").read_text())
    params["runs"]["toy-fc"] |= settings
    write_params(Path(), params)


def move_the_losses() -> None:
    """Put functions into a file of their own."""
    Path("capsnet/networks/margin.py").write_text(LOSSES.read_text())
    LOSSES.write_text('"""Losses."""\n\nfrom capsnet.networks.margin import *  # noqa: F403\n')


def make_repository(folder: Path) -> None:
    """Make a project with the code of now, in git; the working directory is its folder."""
    make_project(folder)
    write_params(folder, tiny_params())
    set_run(**FOR_ALL)
    for name in ("capsnet", "pipeline", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, folder / name)
    called("git", "init", "--quiet")
    commit("Begin")


@pytest.fixture(scope="session")
def really_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one run trained and scored through DVC, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_repository(folder)
        called("dvc", "repro", "-q", STAGES[1])
        commit("Train")
    return folder


@pytest.fixture
def trained(really_trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(really_trained, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a dvc.lock that says that a run was trained and scored, to be copied."""
    folder = tmp_path_factory.mktemp("made-up")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_repository(folder)
        importlib.import_module("pipeline.prepare").main(["squares"])
        write_made_up_lock()
        commit("Lock")
    return folder


def write_made_up_lock() -> None:
    from dvc.utils.serialize import dumps_yaml

    yaml = YAML(typ="safe", pure=True)
    params = yaml.load(Path("params.yaml").read_text())
    asked = {"train": {"runs.toy-fc": params["runs"]["toy-fc"], "seeds": params["seeds"]}}
    asked["evaluate"] = {"test_pairs": params["test_pairs"]}
    nowhere = {"hash": "md5", "md5": "0" * 32 + ".dir", "size": 1, "nfiles": 1}
    metrics = [f"reports/toy/metrics/toy-fc{end}" for end in ("-confusion.csv", "-history.csv", ".json")]
    outs = {"train": ["models/toy-fc"], "evaluate": metrics}
    stages = yaml.load(Path("dvc.yaml").read_text())["stages"]
    entries = {}
    for stage, values in asked.items():
        paths = [
            dep.replace("${key}", "toy-fc").replace("${item.dataset}", "squares") for dep in stages[stage]["do"]["deps"]
        ]
        entries[f"{stage}@toy-fc"] = {
            "cmd": f"python -m pipeline.{stage} toy-fc",
            "deps": [
                {"path": path, **nowhere} if path.startswith("models/") else code_entry(path, Path())
                for path in sorted(paths)
            ],
            "params": {"params.yaml": values},
            "outs": [{"path": path, **nowhere} for path in outs[stage]],
        }
    LOCK.write_text(dumps_yaml({"schema": "2.0", "stages": entries}))


@pytest.fixture
def repository(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made_up, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def renewed() -> list[Locked]:
    return locked(STAGES, read_lock(), Path())


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which has to end with status 2 and one line, and to change nothing; return the line."""
    before = LOCK.read_bytes()
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(prove.main, arguments or ("toy-fc",)))
    said = capsys.readouterr()
    assert (ended.value.code, said.out, len(said.err.splitlines())) == (2, "", 1), said
    assert LOCK.read_bytes() == before
    return said.err


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
        "scores of 12 images, of the models in models/toy-fc too"
    )
    assert second == "dvc.lock names the code of now for train@toy-fc, evaluate@toy-fc"
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
    assert proved("toy-fc") == ["toy-fc: dvc.lock names the code of now already"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("path", "before", "after", "said"),
    [
        (
            Path("capsnet/training/step.py"),
            "loss = (self.margin_weight * mloss + self.alpha * rloss).sum() / size",
            "loss = (self.margin_weight * mloss + self.alpha * rloss).sum() / size * (1 + 1e-7)",
            "after step 21: model.",
        ),
        (
            Path("pipeline/evaluate.py"),
            'made[f"{key}_mean"] = statistics.mean(values)',
            'made[f"{key}_mean"] = statistics.mean(values) * (1 + 1e-15)',
            "scores of the first steps: accuracy_mean: got ",
        ),
    ],
)
def test_one_rounding_is_refused_and_changes_nothing(
    path: Path, before: str, after: str, said: str, trained: Path
) -> None:
    there = LOCK.read_bytes()
    edit(path, before, after)
    shutil.rmtree("models")  # a user who has but the lock
    first, second = proved("toy-fc", status=1)
    then = called("git", "rev-parse", "--short=7", "HEAD").strip()
    assert first.startswith(f"toy-fc: not as at {then}: ")
    assert said in first
    assert second == "dvc.lock is as it was"
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
    assert said.splitlines()[-1] == "interrupted; dvc.lock is as it was"
    assert process.returncode == 1
    assert len(called("git", "worktree", "list").splitlines()) == 1
    assert [*temporary.glob("capsnet-prove-*")] == []  # torch leaves a folder of its own
    assert LOCK.read_bytes() == there


def test_a_commit_is_the_newest_with_the_code_that_the_lock_names(repository: Path) -> None:
    stages = renewed()
    newest, begin = history()
    assert commits_of(stages, None) == [newest, newest]
    assert commits_of(stages, begin) == [begin, begin]
    say_more(LOSSES)
    commit("Say more")
    assert commits_of(stages, None) == [newest, newest]
    assert differing([history()[0]], stages[0].code) == {history()[0]: [ROOM]}


def test_a_run_may_be_scored_with_other_code_than_it_was_trained_with(repository: Path) -> None:
    train, evaluate = renewed()
    there = history()[0]
    scoring = Path("pipeline/evaluate.py")
    say_more(scoring)
    later = commit("Score again")
    evaluate = renewed()[1]._replace(then=renewed()[1].now)
    say_more(LOSSES)
    commit("Say more")
    assert commits_of([train, evaluate], None) == [later, later]
    say_more(scoring)
    scored = commit("Score once more")
    evaluate = renewed()[1]._replace(then=renewed()[1].now)
    assert commits_of([train, evaluate], None) == [later, scored]
    assert commits_of([train, evaluate], there) == [there, scored]


def test_code_that_no_commit_has_is_refused_with_what_comes_nearest(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = code_entry(ROOM, Path())["md5"].removesuffix(".dir")
    LOCK.write_text(LOCK.read_text().replace(digest, "a" * 32))
    commit("Forge")
    said = f"commit {history()[0][:7]}: {ROOM}: got other code, expected what dvc.lock names"
    assert said in refused(capsys)
    assert said in refused(capsys, "toy-fc", "--since", "HEAD")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy-deconv"], "dvc.lock: no train@toy-deconv: it was never trained, `dvc repro train@toy-deconv` does it"),
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
    assert "dvc.lock: got changes that are not in git, expected none; commit them first" in refused(capsys)
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


def test_a_new_setting_is_written_and_named_and_the_other_entries_keep_their_bytes(repository: Path) -> None:
    set_run(warmth=3)
    dvc = Path("dvc.yaml")
    dvc.write_text(dvc.read_text().replace(f" {ROOM},", ""))
    stages = renewed()
    assert [stage.new_settings for stage in stages] == [["runs.toy-fc.warmth: 3"], []]
    before = LOCK.read_text().splitlines()
    write_lock(stages)
    after = LOCK.read_text().splitlines()
    assert [line for line in after if line not in before] == ["          warmth: 3"]
    assert len(before) - len(after) == 2 * 5 - 1
    assert not any(stage.stale for stage in [stage._replace(then=stage.now) for stage in stages])


def test_a_lock_that_changed_meanwhile_is_left_alone(repository: Path) -> None:
    move_the_losses()
    stages = renewed()
    LOCK.write_text(LOCK.read_text().replace("size: 1\n", "size: 2\n"))
    there = LOCK.read_bytes()
    with pytest.raises(ValueError, match="train@toy-fc: changed since this command began; nothing was written"):
        write_lock(stages)
    assert LOCK.read_bytes() == there


@pytest.mark.parametrize("validation", [0.0, 0.25, 0.9])
def test_a_plan_has_enough_steps_a_stop_in_the_middle_and_every_image_at_most_once(
    validation: float, repository: Path
) -> None:
    settings = {"dataset": "squares", "batch_size": 4, "validation": validation}
    plan = planned("toy-fc", settings, [3, 4], 30, 5)
    trained = len(plan.train) - round(validation * len(plan.train))
    assert -(-trained // 4) * plan.epochs >= 30
    assert 1 <= plan.stop < plan.epochs
    assert (plan.seed, len(plan.test)) == (3, 5)
    assert len(set(plan.train.tolist())) == len(plan.train) <= 48


def test_the_first_difference_of_tensors_is_named(tmp_path: Path) -> None:
    then, now = tmp_path / "then", tmp_path / "now"
    tensors = {"a": torch.zeros(2, 3), "b": torch.tensor(1.5), "c": torch.ones(2, dtype=torch.bfloat16)}

    def difference(**changes: torch.Tensor) -> str:
        save_file(tensors, then)
        save_file(tensors | changes, now)
        return of_tensors(then, now)

    assert difference() == ""
    assert difference(b=torch.tensor(1.75)) == "b: 1 of 1 values, first []: got 1.75, expected 1.5"
    moved = torch.zeros(2, 3)
    moved[1, 1:] = torch.tensor([2.0, 3.0])
    assert difference(a=moved) == "a: 2 of 6 values, first [1, 1]: got 2.0, expected 0.0"
    assert difference(a=-torch.zeros(2, 3)) == "a: 6 of 6 values, first [0, 0]: got -0.0, expected 0.0"
    assert difference(c=torch.ones(2)) == "c: got torch.float32 [2], expected torch.bfloat16 [2]"
    assert difference(d=torch.ones(2)) == "d: only now"
    tensors["a"] = torch.full((2, 3), torch.nan)
    assert difference() == ""


def test_the_first_difference_of_rows_and_of_scores_is_named(tmp_path: Path) -> None:
    then, now = tmp_path / "then.csv", tmp_path / "now.csv"
    then.write_text("epoch,loss\n1,0.5\n2,0.25\n")

    def rows(text: str) -> str:
        now.write_text(text)
        return of_rows(then, now, "epoch")

    assert rows(then.read_text()) == ""
    assert rows("epoch,loss\n1,0.5\n2,0.250\n") == "epoch 2: loss: got 0.250, expected 0.25"
    assert rows("epoch,loss\n1,0.5\n") == "then.csv: got 1 rows, expected 2"
    assert rows("epoch,loss,more\n1,0.5,1\n") == "then.csv: columns: got epoch, loss, more, expected epoch, loss"

    metrics = {"seeds": {"0": {"accuracy": 99.5}}, "settings": {"lr": 0.1}}
    then.write_text(json.dumps(metrics))

    def scores(**changes: Any) -> str:
        now.write_text(json.dumps(metrics | changes))
        return of_metrics(then, now)

    assert scores() == scores(settings={"lr": 0.1, "new": 1}) == ""
    assert scores(settings={"new": 1}) == "settings.lr: only then"
    assert scores(more=1) == "more: only now"
    assert scores(seeds={"0": {"accuracy": 99.0}}) == "seeds.0.accuracy: got 99.0, expected 99.5"
