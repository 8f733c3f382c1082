"""The table of benchmarks: single networks, their ensembles, and what is published about each."""

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest
from latex import parse_latex
from made_study import FOLDER, with_entry
from tiny_project import tiny_params, write_params

from pipeline.reporting.tables import build
from pipeline.reporting.typeset import read_parts
from pipeline.settings.params import load_params


def test_an_ensemble_is_a_row_of_its_own_without_spread_and_only_if_asked_for(scored: Path) -> None:
    assert "ensemble" not in str(build("toy-benchmarks", load_params()))
    table = build("toy-benchmarks", with_entry("benchmarks", runs=[{"run": "toy-fc", "ensemble": True}]))
    assert table.data["model"].tolist() == ["FC", "FC (ensemble of 2)", "Others"]
    single, ensemble = table.data.iloc[0], table.data.iloc[1]
    assert (single["accuracy_mean"], single["seeds"]) == (98.0, 2)
    assert (ensemble["accuracy_mean"], ensemble["seeds"]) == (99.25, 1)
    assert single["published_accuracy"] == 98.0
    assert ensemble[["accuracy_std", "published_accuracy", "difference"]].isna().all()
    assert table.cells[2][table.cells[0].index("Accuracy (%)")] == "99.25"
    assert sum("An ensemble is one result of the networks of all seeds" in note for note in table.notes) == 1


def test_a_remark_on_a_run_stands_once_beside_a_table_that_also_shows_its_ensemble(scored: Path) -> None:
    path = FOLDER / "metrics/toy-fc.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"precision": "float32", "instead_of": "bfloat16"}))
    table = build("toy-benchmarks", with_entry("benchmarks", runs=[{"run": "toy-fc", "ensemble": True}]))
    assert "FC (ensemble of 2)" in table.data["model"].tolist()
    remark = "toy-fc: trained in float32, because its hardware does not compute bfloat16."
    assert table.notes.count(remark) == 1


def test_single_networks_and_their_ensemble_stand_beside_what_is_published_about_each(scored: Path) -> None:
    values = tiny_params()
    values["tables"]["toy-benchmarks"] |= {"runs": [{"run": "toy-fc", "ensemble": True}], "published": []}
    values["published"]["toy-fc"] = {"accuracy": 98.0, "ensemble_accuracy": 99.0, "source": "Somebody 2001"}
    write_params(Path(), values)
    data = build("toy-benchmarks", load_params()).data
    assert data["published_accuracy"].tolist() == [98.0, 99.0]
    assert data["difference"].tolist() == pytest.approx((data["accuracy_mean"] - [98.0, 99.0]).tolist())


def test_the_published_accuracy_of_an_ensemble_stands_beside_ours_and_beside_no_single_network(scored: Path) -> None:
    values = tiny_params()
    values["tables"]["toy-benchmarks"] |= {"runs": [{"run": "toy-fc", "ensemble": True}], "published": []}
    values["published"]["toy-fc"] = {"accuracy": 99.0, "ensemble": True, "source": "Somebody 2001, all together"}
    write_params(Path(), values)
    importlib.import_module("pipeline.tabulate").main(["toy-benchmarks"])
    csv = pd.read_csv(FOLDER / "tables/benchmarks.csv")
    assert csv["model"].tolist() == ["FC", "FC (ensemble of 2)"]
    assert csv.loc[0, ["published_accuracy", "source", "difference"]].isna().all()
    assert csv.loc[1, ["published_accuracy", "source"]].tolist() == [99.0, "Somebody 2001, all together"]
    assert csv.loc[1, "difference"] == pytest.approx(0.25)
    _, cells = parse_latex((FOLDER / "tables/benchmarks.tex").read_text())
    assert cells == read_parts((FOLDER / "tables/benchmarks.md").read_text())[0].cells
    beside = [cells[0].index(title) for title in ("Accuracy (%), published", "Difference (points)", "Source")]
    assert [cells[1][place] for place in beside] == ["", "", ""]
    assert [cells[2][place] for place in beside] == ["99.00", "+0.25", "Somebody 2001, all together"]
    assert build("toy-decoders", load_params()).data["published_accuracy"].isna().all()


def test_models_are_called_after_the_protocols_of_their_table(scored: Path) -> None:
    runs = [
        {"run": "toy-fc", "protocol": "one protocol", "ensemble": True},
        {"run": "toy-fc_bn"},
        {"run": "toy-deconv", "protocol": "another"},
    ]
    table = build("toy-benchmarks", with_entry("benchmarks", runs=runs, published=[]))
    models = ["one protocol, FC", "FC w/ BN", "another, DeConv", "one protocol, FC (ensemble of 2)"]
    assert table.data["model"].tolist() == models
    assert [row[1] for row in table.cells[1:]] == models


def test_a_run_of_one_seed_makes_no_ensemble_and_blocks_nothing(scored: Path) -> None:
    values = tiny_params()
    values["tables"]["toy-benchmarks"] |= {
        "runs": [{"run": "toy-fc"}, {"run": "toy-deconv", "ensemble": True}],
        "published": [],
    }
    write_params(Path(), values | {"seeds": [0]})
    assert build("toy-benchmarks", load_params()).data["model"].tolist() == ["FC", "DeConv"]
    values["published"]["toy-deconv"] = {"accuracy": 99.0, "ensemble": True, "source": "Somebody 2001"}
    write_params(Path(), values | {"seeds": [0]})
    table = build("toy-benchmarks", load_params())
    assert table.data["model"].tolist() == ["FC", "DeConv", "DeConv (ensemble)"]
    assert table.data.loc[2, ["seeds", "published_accuracy"]].tolist() == [0, 99.0]
    assert table.cells[3][3:5] == ["not run", "99.00"]
    assert table.missing == []
