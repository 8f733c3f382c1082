"""The tables in params.yaml: what their runs must have in common, and how a fault is named."""

from pathlib import Path
from typing import Any

import pytest
from tiny_project import ROOT, changed_params, tiny_params, write_params

from pipeline.settings.params import load_params


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("tables/toy-decoders/kind", "digests", "tables.toy-decoders.kind: got 'digests', expected one of decoders, "),
        ("tables/toy-decoders/kind", None, "tables.toy-decoders.kind: missing"),
        ("tables/toy-decoders/kind", "topologies", "tables.toy-decoders.base: missing"),
        ("tables/toy-decoders/runs", None, "tables.toy-decoders.runs: missing"),
        ("tables/toy-decoders/run", [], "tables.toy-decoders.run: unknown key, did you mean 'runs'?"),
        ("tables/toy-decoders/base", "x", "tables.toy-decoders.base: unknown key, this kind takes kind, runs, study"),
        ("tables/toy-decoders/study", "other", "tables.toy-decoders.study: got 'other', expected one of toy"),
        ("tables/toy-benchmarks/runs/0/run", "x", "tables.toy-benchmarks.runs: got 'x', expected one of toy-at"),
        ("tables/toy-benchmarks/runs/0/kind", "x", "tables.toy-benchmarks.runs.0.kind: unknown key"),
        ("tables/toy-topologies/base", "x", "tables.toy-topologies.base: got 'x', expected one of toy-at"),
        (
            "tables/toy-topologies/runs",
            ["toy-fc"],
            "tables.toy-topologies.runs: toy-fc: got decoder, batch_norm other than in the base, expected one setting",
        ),
        (
            "tables/toy-topologies/runs",
            ["toy-deconv_bn"],
            "tables.toy-topologies.runs: toy-deconv_bn: got nothing other than in the base, expected one setting",
        ),
        (
            "tables/toy-decoders/runs",
            ["toy-fc", "toy-pairs"],
            "tables.toy-decoders.runs: got runs of squares (classify) and squares (separate), expected runs of one "
            "data set and one task",
        ),
        (
            "tables/toy-topologies/base",
            "toy-pairs",
            "tables.toy-topologies.runs: got runs of squares (separate) and squares (classify), expected runs of one",
        ),
        ("tables/toy-robustness/runs", ["toy-deconv"], "tables.toy-robustness.runs: got 'toy-deconv', expected one of"),
        ("tables/toy-robustness/degrees", [0, 45], "tables.toy-robustness.degrees: got 45, expected one of 0, 90, 180"),
        ("tables/toy-robustness/degrees/0", 360, "tables.toy-robustness.degrees.0: got 360, expected less than 360"),
        ("studies/toy/tables", ["decoders"], "tables.toy-benchmarks.kind: got 'benchmarks', expected one of decod"),
        ("studies/toy/tables/0", "others", "studies.toy.tables: got 'toy-others', expected one of toy-benchmarks"),
        ("robustness/toy-fc/step", 50, "robustness.toy-fc.step: got 50, expected a divisor of 360"),
        ("robustness/toy-fc/step", 360, "robustness.toy-fc.step: got 360, expected less than 360"),
        ("robustness/toy-fc/study", "other", "robustness.toy-fc.study: got 'other', expected one of toy"),
        ("robustness/toy-fc/dataset", "x", "robustness.toy-fc.dataset: got 'x', expected one of squares"),
        ("published/toy-fc/ensemble", True, "published.toy-fc: got 'toy-fc', expected one of "),
        ("published/toy-fc/ensemble", 7, "published.toy-fc.ensemble: got 7, expected a valid boolean"),
        (
            "robustness/toy-pairs",
            {"study": "toy", "dataset": "squares", "step": 90},
            "robustness.toy-pairs: task: got 'separate', expected one of classify",
        ),
        ("robustness/x", {"study": "toy", "dataset": "squares", "step": 90}, "robustness.x: got 'x', expected one of"),
    ],
)
def test_a_fault_in_a_table_is_named_with_its_path(project: Path, path: str, value: Any, said: str) -> None:
    write_params(project, changed_params(path, value))
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", ["decoders", "topologies", "benchmarks"])
def test_only_tables_that_say_so_may_hold_runs_of_several_data_sets(project: Path, kind: str) -> None:
    values = tiny_params()
    values["datasets"]["circles"] = values["datasets"]["squares"]
    values["runs"]["toy-circles"] = values["runs"]["toy-deconv_bn"] | {"dataset": "circles"}
    names = ["toy-fc_bn", "toy-circles"]
    values["tables"][f"toy-{kind}"]["runs"] = [{"run": name} for name in names] if kind == "benchmarks" else names
    write_params(project, values)
    if kind == "benchmarks":
        assert load_params().tables["toy-benchmarks"].run_names() == ("toy-fc_bn", "toy-circles")
        return
    with pytest.raises(ValueError, match=rf"tables\.toy-{kind}\.runs: got runs of squares .* and circles .*, expected"):
        load_params()


def test_the_topologies_in_git_are_those_of_the_plan() -> None:
    params = load_params(ROOT / "params.yaml")
    table = params.tables["paper-topologies"]
    runs = [params.runs[name] for name in (table.base, *table.runs)]
    assert {run.epochs for run in runs} == {10}
    assert {run.dataset for run in runs} == {"mnist"}
    assert {run.routing_iterations for run in runs} == {1, 2, 3, 5}
    assert {run.primary_types for run in runs} == {8, 16, 32, 64}
    assert {run.class_dim for run in runs} == {8, 16, 32}
    assert {run.decoder for run in runs} == {"fc", "none"}
    assert {run.reconstruction for run in runs} == {"l1", "l2"}
    assert {run.leaky_routing for run in runs} == {True, False}
    assert {run.alpha_schedule for run in runs} == {"constant", "tanh", "tanh_delayed"}
