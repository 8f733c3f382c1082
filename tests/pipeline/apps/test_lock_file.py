"""The entries of dvc.lock, the commits that have their code, and the short run of a proof."""

from pathlib import Path

import pytest
from proofs import LOCK, LOSSES, ROOM, commit, move_the_losses, renewed, say_more, set_run

from pipeline.apps.proving.commits import ancestors, commits_of, differing_code
from pipeline.apps.proving.lock_file import write_lock
from pipeline.apps.proving.short_run import choose_short_run


def test_a_commit_is_the_newest_with_the_code_that_the_lock_names(repository: Path) -> None:
    stages = renewed()
    newest, begin = ancestors()
    assert commits_of(stages, None) == [newest, newest]
    assert commits_of(stages, begin) == [begin, begin]
    say_more(LOSSES)
    commit("Say more")
    assert commits_of(stages, None) == [newest, newest]
    assert differing_code([ancestors()[0]], stages[0].code) == {ancestors()[0]: [ROOM]}


def test_a_run_may_be_scored_with_other_code_than_it_was_trained_with(repository: Path) -> None:
    train, evaluate = renewed()
    there = ancestors()[0]
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
    assert [stage.stale for stage in stages] == [True, True]
    commit("Renew the lock")
    assert [stage.stale for stage in renewed()] == [False, False]


def test_a_new_setting_that_is_a_list_is_named_with_its_values(repository: Path) -> None:
    set_run(warmth=[3, 4])
    assert [stage.new_settings for stage in renewed()] == [["runs.toy-fc.warmth: [3, 4]"], []]


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
    short = choose_short_run("toy-fc", settings, [3, 4], 30, 5)
    trained = len(short.train) - round(validation * len(short.train))
    assert -(-trained // 4) * short.epochs >= 30
    assert 1 <= short.stop < short.epochs
    assert (short.seed, len(short.test)) == (3, 5)
    assert len(set(short.train.tolist())) == len(short.train) <= 48
