"""From measurements to tables: ratios within rounds, targets, a figure, and what a process tells."""

from pathlib import Path

import pytest

from tests.benchmarks.cases import CASES, LOWER_SAME, PARTS, PLAIN, RUNS, STEP_LABELS, routing_jobs, step_jobs
from tests.benchmarks.fixed import Cost
from tests.benchmarks.rounds import Measured, measure, times_faster
from tests.benchmarks.speed_figure import write_figure
from tests.benchmarks.speed_tables import (
    Setting,
    fixed_markdown,
    routing_markdown,
    routing_rows,
    steps_markdown,
    steps_rows,
)
from tests.benchmarks.targets import targets

SETTINGS = {"device": "cpu", "threads": 1, "batch": 4, "steps": 1, "bfloat16": True}
SETTING = Setting("a processor, 1 threads", "2.11", "3.11", "abc1234", 4, False)
SLOWER = {"float32": 1.0, "bfloat16": 0.5, "bmm": 2.5, "broadcast": 5.0}


def measured(job: dict[str, object], seconds: float, mb: float) -> Measured:
    """Three rounds on a machine that gets slower, and slower still."""
    return Measured(job, [seconds, 2 * seconds, 8 * seconds], dict.fromkeys(PARTS, seconds / 5), mb)


def steps(mb: float) -> list[Measured]:
    jobs = [job for case in CASES for job in step_jobs(case, SETTINGS)]
    factors = [(SLOWER[job["implementation"]], 0.01 if job["case"] in RUNS else 1.0) for job in jobs]
    return [measured(job, slower * quick, mb * slower) for job, (slower, quick) in zip(jobs, factors, strict=True)]


def test_a_ratio_is_taken_within_rounds() -> None:
    ours = Measured({}, [1.0, 2.0, 10.0], {}, 0.0)
    other = Measured({}, [3.0, 4.0, 30.0], {}, 0.0)
    assert times_faster(ours, other) == 3.0


def test_every_case_and_implementation_has_a_row() -> None:
    rows = steps_rows(steps(100), SETTING)
    assert [(row["case"], row["implementation"]) for row in rows] == [
        (case, name) for case in CASES for name in STEP_LABELS if case not in RUNS or name not in PLAIN
    ]
    assert {row["times_bmm"] for row in rows if row["implementation"] == "float32"} == {"2.500", ""}
    text = steps_markdown(rows, SETTING)
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "| MNIST 28x28x1 | ours, float32 | 2 (0 to 4) | 2.50× | 5.00× | 100 |" in text


def test_bfloat16_is_measured_only_where_it_is_computed(tmp_path: Path) -> None:
    jobs = [job for case in CASES for job in step_jobs(case, {**SETTINGS, "bfloat16": False})]
    assert {job["implementation"] for job in jobs} == {"float32", "bmm", "broadcast"}
    rows = steps_rows([measured(job, SLOWER[job["implementation"]], 1.0) for job in jobs], SETTING)
    assert len(rows) == len(jobs) == sum(1 if case in RUNS else 3 for case in CASES)
    assert "bfloat16" not in steps_markdown(rows, SETTING)
    assert [target.what for target in targets(rows, []) if "bfloat16" in target.what] == []
    assert len(list(targets(rows, []))) == 6
    write_figure(tmp_path, rows)
    assert (tmp_path / "figures/steps.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("mb", "met"), [(100, True), (700, False)])
def test_a_target_that_is_not_met_is_told(mb: float, met: bool) -> None:
    routing = [measured(job, 1.0, mb) for job in routing_jobs(LOWER_SAME, SETTINGS)]
    reached = list(targets(steps_rows(steps(mb), SETTING), routing_rows(routing, SETTING)))
    assert len(reached) == 11
    assert all(target.met for target in reached) == met
    assert all(str(target).startswith("met" if target.met else "NOT MET") for target in reached)


def test_what_could_not_be_measured_has_a_row_with_the_reason() -> None:
    costs = [Cost("one", [1.0, 3.0, 2.0]), Cost("another", [], "not measured: no data")]
    text = fixed_markdown(costs, SETTING)
    assert "| one | 2.00 (1.00 to 3.00) | 3 |" in text
    assert "| another | not measured: no data | 0 |" in text


def test_the_figure_is_the_same_file_each_time(tmp_path: Path) -> None:
    rows = steps_rows(steps(100), SETTING)
    for name in ("one", "other"):
        write_figure(tmp_path / name, rows)
    one, other = (tmp_path / name / "figures/steps.png" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_processes_measure_in_turns() -> None:
    jobs = routing_jobs(16, {**SETTINGS, "batch": 2})
    each = measure(jobs, 2)
    assert [one.job["implementation"] for one in each] == [job["implementation"] for job in jobs]
    assert all(len(one.seconds) == 2 and min(one.seconds) > 0 for one in each)
    assert "plain, bmm" in routing_markdown(routing_rows(each, SETTING), SETTING)
