"""The kinds of tables on metrics made by hand."""

import importlib
import re
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from latex import parse_latex
from made_study import FOLDER, with_entry, write_metrics, write_rotations
from ruamel.yaml import YAML
from tiny_project import ROOT, TINY, tiny_params, write_params

from pipeline.reporting.tables import BUILDERS, build
from pipeline.reporting.tables.columns import cells, words
from pipeline.reporting.typeset import read_parts
from pipeline.runtime.command_line import run_stage
from pipeline.settings.params import load_params
from pipeline.settings.tables import KINDS

SCORED = tiny_params()["studies"]["toy"]["tables"]  # not costs, which are in test_costs.py
STAGES = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("kind", SCORED)
def test_every_kind_is_written_as_csv_markdown_and_latex_with_its_notes(kind: str, scored: Path) -> None:
    importlib.import_module("pipeline.tabulate").main([f"toy-{kind}"])
    table = build(f"toy-{kind}", load_params())
    csv = pd.read_csv(FOLDER / f"tables/{kind}.csv")
    pd.testing.assert_frame_equal(csv, table.data, check_dtype=False)
    text = (FOLDER / f"tables/{kind}.md").read_text()
    assert read_parts(text) == table.parts
    for note in ("1,200 of squares", "made & 100 % by hand", "a slide rule"):
        assert note in text
    first, *others = (FOLDER / f"tables/{kind}.tex").read_text().split("\n\n")
    caption, cells = parse_latex(first)
    assert cells == table.cells
    assert [parse_latex(other)[1] for other in others] == [part.cells for part in table.parts[1:]]
    assert caption.startswith(tiny_params()["tables"][f"toy-{kind}"]["title"])
    assert "n seeds (0, 1)" in caption
    assert "Data: squares: made & 100 % by hand." in caption


def test_each_kind_of_table_has_a_model_a_builder_and_an_entry_in_the_tiny_project() -> None:
    assert set(KINDS) == set(BUILDERS) == {*SCORED, "costs"}


def test_the_columns_of_each_kind_are_the_promised_ones_with_the_difference_last(scored: Path) -> None:
    promised = {
        "decoders": "run, model, parameters, decoder_parameters, epochs, seeds, rloss_mean, rloss_std, mloss_mean, "
        "mloss_std, accuracy_mean, accuracy_std, published_rloss, published_mloss, published_accuracy, difference",
        "benchmarks": "run, model, dataset, epochs, seeds, accuracy_mean, accuracy_std, published_accuracy, source, "
        "note, difference",
        "topologies": "factor, value, run, parameters, epochs, seeds, accuracy_mean, accuracy_std, rloss_mean, "
        "rloss_std, mloss_mean, mloss_std, difference",
        "robustness": "run, model, dataset, parameters, epochs, seeds, degrees, accuracy_mean, accuracy_std, "
        "published_accuracy, source, difference",
    }
    assert {kind: ", ".join(build(f"toy-{kind}", load_params()).data.columns) for kind in SCORED} == promised


@pytest.mark.parametrize("kind", ["decoders", "benchmarks"])
def test_the_difference_is_ours_minus_the_published_accuracy_where_there_are_both(kind: str, scored: Path) -> None:
    table = build(f"toy-{kind}", load_params())
    data = table.data.set_index("model" if kind == "benchmarks" else "run")
    ours = data.loc["FC" if kind == "benchmarks" else "toy-fc"]
    assert ours["difference"] == pytest.approx(98.0 - 98.0)
    assert data["difference"].notna().sum() == 1
    assert "+0.00" in table.cells[1]


def test_a_loss_in_accuracy_is_shown_with_a_minus_sign(scored: Path) -> None:
    write_metrics("toy-fc", [97.0, 97.5])
    cells = build("toy-decoders", load_params()).cells
    assert cells[1][cells[0].index("Difference (points)")] == "−0.75"


def test_a_shown_difference_is_that_of_the_shown_numbers(scored: Path) -> None:
    write_metrics("toy-fc", [97.2649])
    values = tiny_params()
    values["published"]["toy-fc"]["accuracy"] = 96.8151
    write_params(Path(), values)
    table = build("toy-decoders", load_params())
    row = dict(zip(table.cells[0], table.cells[1], strict=True))
    assert (row["Accuracy (%)"], row["Accuracy (%), published"], row["Difference (points)"]) == (
        "97.26",
        "96.82",
        "+0.44",
    )
    assert table.data.loc[0, "difference"] == pytest.approx(97.2649 - 96.8151), "the file has the exact one"


def test_a_setting_without_published_values_has_no_empty_columns(scored: Path) -> None:
    params = with_entry("decoders", runs=["toy-deconv"])
    assert not [title for title in build("toy-decoders", params).cells[0] if "published" in title or "Diff" in title]


def test_two_columns_may_have_the_same_title() -> None:
    columns = [words("Value", "ours"), words("Value", "theirs")]
    assert cells([{"ours": "1", "theirs": "2"}], columns) == [["Value", "Value"], ["1", "2"]]


def test_topologies_group_runs_by_their_one_setting_with_the_base_in_each_group(scored: Path) -> None:
    data = build("toy-topologies", load_params()).data
    assert data[["factor", "value", "run"]].to_numpy().tolist() == [
        ["decoder", "deconv", "toy-deconv_bn"],
        ["decoder", "fc", "toy-fc_bn"],
        ["batch_norm", "true", "toy-deconv_bn"],
        ["batch_norm", "false", "toy-deconv"],
    ]
    assert data["difference"].tolist() == pytest.approx([0, 98.5 - 99.25, 0, 96.5 - 99.25])


def test_numbers_of_a_setting_ascend_with_the_base_among_them(scored: Path) -> None:
    values = tiny_params()
    values["runs"] |= {f"toy-{n}": values["runs"]["toy-fc"] | {"routing_iterations": n} for n in (10, 1, 3)}
    runs = ["toy-10", "toy-1", "toy-fc_bn", "toy-3"]
    values["tables"]["toy-topologies"] |= {"base": "toy-fc", "runs": runs}
    write_params(Path(), values)
    for n in (10, 1, 3):
        write_metrics(f"toy-{n}", [90.0 + n], routing_iterations=n)
    table = build("toy-topologies", load_params())
    assert table.data["value"].tolist() == ["1", "2", "3", "10", "false", "true"]
    assert table.data["run"].tolist() == ["toy-1", "toy-fc", "toy-3", "toy-10", "toy-fc", "toy-fc_bn"]
    assert any("(0, 1, or 0 alone; no ± where n is 1)" in note for note in table.notes)


def test_the_setting_of_a_topology_is_that_of_the_models_that_were_scored(scored: Path) -> None:
    write_metrics("toy-deconv", [96.0, 97.0], decoder="deconv", lr=0.5)
    with pytest.raises(ValueError, match="toy-deconv: got lr, batch_norm other than in the base, expected one setting"):
        build("toy-topologies", load_params())


def test_robustness_has_every_angle_as_data_and_the_chosen_ones_for_people(scored: Path) -> None:
    table = build("toy-robustness", load_params())
    turned = table.data[table.data["degrees"].notna()]
    assert turned["degrees"].tolist() == [0, 90, 180, 270]
    assert turned["accuracy_mean"].tolist() == [98.0, 15.0, 45.0, 15.0]
    assert turned["accuracy_std"].tolist() == pytest.approx([2**0.5, 50**0.5, 50**0.5, 0.0])
    assert turned["difference"].isna().all()
    columns = ["Accuracy (%)", "Accuracy (%), published", "Difference (points)", "90°", "180°", "n", "Epochs"]
    assert table.cells[0] == ["Run", "Model", "Data", *columns, "Parameters", "Source"]
    shown = ["98.00 ± 1.41", "98.00", "+0.00", "15.00 ± 7.07", "45.00 ± 7.07", "2", "2", "12,345", "Somebody 2001"]
    assert table.cells[1] == ["toy-fc", "FC", "squares", *shown]


def test_an_angle_that_is_not_scored_yet_is_not_run_and_the_command_is_named(scored: Path) -> None:
    rotations = Path("reports/toy/metrics/toy-fc-robustness.csv")
    rotations.write_text(re.sub(".*,180,.*\n", "", rotations.read_text()))
    table = build("toy-robustness", load_params())
    assert table.cells[1][6:8] == ["15.00 ± 7.07", "not run"]
    assert any("rotate@toy-fc" in each for each in table.missing)


@pytest.mark.parametrize(
    ("text", "what"), [("<<<<<<< ours", "not JSON (Expecting value"), ("[]", "got list, expected")]
)
def test_damaged_scores_are_named_with_the_command_that_makes_them_anew(scored: Path, text: str, what: str) -> None:
    path = Path("reports/toy/metrics/toy-fc.json")
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {what}")) as error:
        build("toy-decoders", load_params())
    assert str(error.value).endswith("; `dvc repro evaluate@toy-fc` makes it anew")


def test_a_run_of_pairs_has_its_own_test_set_in_robustness_and_says_what_it_is(scored: Path) -> None:
    table = build("toy-robustness", load_params())
    of_itself = table.data[table.data["degrees"].isna()].set_index("run")
    assert of_itself["accuracy_mean"].to_dict() == {"toy-fc": 98.0, "toy-pairs": 72.0}
    assert of_itself["difference"].to_dict() == {"toy-fc": 0.0, "toy-pairs": pytest.approx(float("nan"), nan_ok=True)}
    rotated, harder = table.parts
    assert (rotated.title, harder.title) == ("Test images rotated by an angle", "Other test images")
    assert [row[0] for row in rotated.cells[1:]] == ["toy-fc"]
    columns = ["Run", "Model", "Data", "Accuracy (%)", "n", "Epochs", "Parameters"]
    assert harder.cells == [columns, ["toy-pairs", "FC, pairs", "squares", "72.00 ± 2.83", "2", "2", "12,345"]]
    assert all(cell for part in table.parts for row in part.cells for cell in row), "no cell is empty"
    said = [note for note in table.notes if note.startswith("toy-pairs: 2,400 pairs")]
    assert len(said) == 1
    assert said[0].endswith("of the single images, 84.25 % are.")


def test_a_run_says_so_if_only_some_of_its_seeds_are_scored_on_rotated_images(scored: Path) -> None:
    write_rotations("toy-fc", dict.fromkeys((0, 90, 180, 270), (20.0,)))
    table = build("toy-robustness", load_params())
    assert "toy-fc: 1 of 2 seeds scored on rotated images." in table.notes
    assert set(table.data.loc[table.data["degrees"].notna(), "seeds"]) == {1}


def test_a_run_on_affine_digits_has_its_own_test_set_in_robustness(scored: Path) -> None:
    values = tiny_params()
    values["datasets"]["moved"] = {"format": "affnist", "raw": "x", "seed": 0}
    values["runs"]["toy-moved"] = TINY | {"dataset": "moved"}
    values["tables"]["toy-robustness"]["runs"] = ["toy-moved"]
    values["published"]["toy-moved"] = {"accuracy": 79.0, "source": "Somebody 2017"}
    write_params(Path(), values)
    write_metrics("toy-moved", [70.0, 74.0])
    path = FOLDER / "metrics/toy-moved.json"
    path.write_text(path.read_text().replace('"squares"', '"moved"', 1))
    table = build("toy-robustness", load_params())
    assert table.data["difference"].tolist() == [-7.0]
    assert table.cells[1][3:6] == ["72.00 ± 2.83", "79.00", "−7.00"]
    (note,) = (note for note in table.notes if note.startswith("moved: trained on digits that are shifted"))
    assert note.endswith("published values are of the original affNIST.")
    assert [part.title for part in table.parts] == [""]
    assert not any("Columns of degrees" in note for note in table.notes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rotate", "toy-deconv"], "run: got 'toy-deconv', expected one of toy-deconv_bn, toy-fc"),
        (["rotate", "toy-fc"], "dvc repro train@toy-fc"),
    ],
)
def test_what_is_not_there_is_named_with_what_makes_it(
    project: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("toy-fc", "toy-pairs"):
        write_metrics(name, [97.0, 99.0])
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(importlib.import_module(f"pipeline.{arguments[0]}").main, arguments[1:]))
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_dvc_has_a_stage_a_table_whose_outputs_no_other_stage_writes() -> None:
    stage = STAGES["tabulate"]
    assert stage["foreach"] == "${tables}"
    written = [next(iter(out)) for out in stage["do"]["outs"]]
    assert written == [f"reports/${{item.study}}/tables/${{item.kind}}.{kind}" for kind in ("csv", "md", "tex")]
    tables = load_params(ROOT / "params.yaml").tables
    assert len({(table.study, table.kind) for table in tables.values()}) == len(tables)
