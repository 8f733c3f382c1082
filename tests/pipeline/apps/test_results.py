"""A study of which something is missing: tables, page and README from what there is, and words about the rest."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_study import FOLDER, write_metrics, write_pictures
from tiny_project import VARIANTS, tiny_params, write_params

from pipeline import report
from pipeline.apps import results
from pipeline.apps.readme import with_results
from pipeline.reporting.findings import HEADLINES
from pipeline.reporting.gaps import missing
from pipeline.reporting.page import gather
from pipeline.reporting.table_shown import table
from pipeline.reporting.tables import build, write
from pipeline.reporting.typeset import plain_cell, read_parts
from pipeline.settings.params import load_params

KINDS = tiny_params()["studies"]["toy"]["tables"]


def without(*names: str) -> None:
    """Take away what is known of runs."""
    for name in names:
        for path in (FOLDER / "metrics").glob(f"{name}*"):
            if path.stem in (name, f"{name}-robustness"):
                path.unlink()


def all_rows(kind: str) -> list[list[str]]:
    return [row for part in build(f"toy-{kind}", load_params()).parts for row in part.cells[1:]]


def made(*arguments: str) -> tuple[str, str]:
    results.main(["toy", *arguments])
    return (FOLDER / "index.html").read_text(), (FOLDER / "README.md").read_text()


def test_a_run_that_is_not_scored_keeps_its_row_with_what_is_published_about_it(study: Path) -> None:
    without("toy-fc")
    table = build("toy-decoders", load_params())
    cells = dict(zip(table.cells[0], table.cells[1], strict=True))
    published = {"Accuracy (%), published": "98.00", "RLoss, published": "1.00", "MLoss, published": "0.1000"}
    assert cells == {
        "Run": "toy-fc",
        "Model": "FC",
        "Accuracy (%)": "not run",
        **published,
        "n": "0",
        "Epochs": "2",
    } | dict.fromkeys(("RLoss", "MLoss", "Decoder parameters", "Parameters"), "")
    row = table.data.iloc[0]
    assert (row["seeds"], row["published_accuracy"]) == (0, 98.0)
    assert row[["accuracy_mean", "accuracy_std", "difference", "parameters"]].isna().all()
    assert table.notes[0] == "Not run yet: toy-fc. These rows have no result of ours."
    assert table.missing == ["dvc repro evaluate@toy-fc"]


def test_a_gap_leaves_every_other_row_as_it_was(study: Path) -> None:
    whole = {kind: all_rows(kind) for kind in KINDS}
    without("toy-tuned", "toy-deconv", "toy-pairs")
    for kind, before in whole.items():
        after = all_rows(kind)
        gone = [row for row in after if "not run" in row]
        assert len(gone) == {"decoders": 2, "benchmarks": 0, "topologies": 1, "robustness": 1}[kind]
        kept = [row for row in after if row not in gone]
        assert kept == [row for row in before if row in kept]
        assert len(kept) == len(before) - len(gone)


@pytest.mark.parametrize("gone", [(), *[(name,) for name in (*VARIANTS, "toy-tuned", "toy-pairs")], (*VARIANTS,)])
def test_every_table_page_and_finding_can_be_made_whatever_is_missing(gone: tuple[str, ...], study: Path) -> None:
    without(*gone)
    page, readme = made()
    for kind in KINDS:
        text = (FOLDER / f"tables/{kind}.md").read_text()
        rows = [row for part in read_parts(text) for row in part.cells[1:] if "not run" in row]
        assert {row[0] if kind != "topologies" else row[2] for row in rows} <= set(gone)
        assert ("Not run yet" in text) == bool(rows)
    for text in (page, readme):
        assert ("What is missing" in text) == bool(gone)
        assert ("python -m pipeline.apps.results toy" in text) == bool(gone)
        assert not gone or f"Not run yet: {', '.join(sorted(gone))}." in text
    assert not re.search(r"\bnan\b|<NA>", readme)


def test_the_number_of_seeds_is_that_of_the_networks_and_one_has_no_spread(study: Path) -> None:
    for name in (*VARIANTS, "toy-tuned"):
        write_metrics(name, [97.0])
    write("toy-decoders", load_params())
    for form in ("md", "tex"):
        text = (FOLDER / f"tables/decoders.{form}").read_text()
        assert "±" not in text
        assert r"\pm" not in text
        assert "from one seed (0), so without a spread" in text
    assert pd.read_csv(FOLDER / "tables/decoders.csv")["seeds"].tolist() == [1] * 5
    write_metrics("toy-fc", [97.0, 98.0])
    table = build("toy-decoders", load_params())
    assert [row[2] for row in table.cells[1:3]] == ["97.50 ± 0.71", "97.00"]
    assert "n seeds (0, 1, or 0 alone; no ± where n is 1)" in table.notes[0]


def test_a_run_that_is_not_scored_on_rotated_images_says_so_at_every_angle(study: Path) -> None:
    (FOLDER / "metrics/toy-fc-robustness.csv").unlink()
    table = build("toy-robustness", load_params())
    at = [table.cells[0].index(f"{degrees}°") for degrees in (90, 180)]
    assert [table.cells[1][place] for place in at] == ["not run", "not run"]
    assert table.cells[1][3] == "98.00 ± 1.41"
    assert table.missing == ["dvc repro rotate@toy-fc"]
    assert "Not rotated yet: toy-fc." in made()[1]


def test_a_base_that_is_not_scored_leaves_its_group_without_differences(study: Path) -> None:
    without("toy-deconv_bn")
    data = build("toy-topologies", load_params()).data
    assert data["factor"].tolist() == ["decoder", "decoder", "batch_norm", "batch_norm"]
    assert data["difference"].isna().all()
    assert "All runs are compared with toy-deconv_bn, which is missing." in made()[1]


def test_scores_from_before_a_setting_was_there_still_have_their_one_factor(study: Path) -> None:
    path = FOLDER / "metrics/toy-deconv.json"
    metrics = json.loads(path.read_text())
    del metrics["settings"]["padding"]
    path.write_text(json.dumps(metrics))
    assert "batch_norm" in build("toy-topologies", load_params()).data["factor"].tolist()


def test_counts_stay_whole_numbers_beside_a_gap(study: Path) -> None:
    without("toy-fc")
    write("toy-decoders", load_params())
    assert ",12345,345,2,2," in (FOLDER / "tables/decoders.csv").read_text()


def test_pictures_and_searches_that_were_not_made_are_left_out_and_named(study: Path) -> None:
    shutil.rmtree(FOLDER / "figures/squares")
    shutil.rmtree(FOLDER / "tuning")
    page, readme = made()
    for text in (page, readme):
        assert "Not drawn yet: squares." in text
        assert "Not searched yet: toy." in text
        assert "They fall." in text
        assert "It turns." not in text
    commands = {gap.name: gap.command for gap in missing("toy", load_params())}
    assert commands == {"squares": "dvc repro draw@squares", "toy": "dvc repro tune@toy"}


def test_what_pictures_leave_out_and_borrow_is_said_beside_them(study: Path) -> None:
    shutil.rmtree(FOLDER / "figures/squares")
    write_pictures("squares", ["toy-deconv_bn"], {"curves": "They fall."})
    path = FOLDER / "figures/squares/figures.json"
    told = {"weights": ["published/toy.safetensors"], "left_out": ["primary, for want of a decoder"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    for text in made():
        assert "Drawn with the weights in published/toy.safetensors." in text
        assert "Left out: primary, for want of a decoder." in text


def test_pictures_of_some_of_the_runs_are_called_after_those(study: Path) -> None:
    shutil.rmtree(FOLDER / "figures/toy-decoders")
    write_pictures("toy-decoders", ["toy-fc", "toy-deconv"], {"curves": "They fall."})
    (shown, *_) = gather("toy", load_params()).sets
    assert (shown.title, list(shown.runs)) == ("FC, DeConv on squares", ["toy-fc", "toy-deconv"])


def test_nothing_missing_makes_the_bytes_of_the_stages(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.main(["toy"])
    made_by_stages = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    capsys.readouterr()
    made()
    assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == made_by_stages
    assert capsys.readouterr().out.splitlines()[-1] == "toy: nothing is missing"


def test_what_is_missing_is_printed_with_the_command_that_makes_it(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without("toy-fc", "toy-tuned")
    made()
    assert [line.split() for line in capsys.readouterr().out.splitlines()[-3:]] == [
        ["toy:", "2", "missing"],
        ["not", "run:", "toy-fc", "dvc", "repro", "evaluate@toy-fc"],
        ["not", "run:", "toy-tuned", "dvc", "repro", "evaluate-tuned@toy"],
    ]


def test_the_marked_tables_of_every_document_are_filled_and_other_text_stays(study: Path) -> None:
    text = "# Results\n\n<!-- table: toy/decoders -->\nold\n<!-- end -->\n\nAfter it.\n"
    Path("docs").mkdir()
    for name in ("README.md", "docs/results.md"):
        Path(name).write_text(text)
    Path("docs/notes.txt").write_text(text)
    made()
    table = Path("reports/toy/tables/decoders.md").read_text()
    for name in ("README.md", "docs/results.md"):
        assert Path(name).read_text() == text.replace("old\n", table)
    assert Path("docs/notes.txt").read_text() == text


def test_the_findings_in_a_readme_begin_with_what_is_missing(study: Path) -> None:
    text = "# Toy\n\n<!-- findings: toy -->\nold\n<!-- end -->\n\n<!-- table: toy/decoders -->\n<!-- end -->\n"
    without("toy-fc_bn")
    Path("README.md").write_text(text)
    made()
    filled = Path("README.md").read_text()
    assert filled.startswith("# Toy\n\n<!-- findings: toy -->\n- Not run yet: toy-fc_bn.\n\n**Decoders**\n\n- ")
    assert "old" not in filled
    assert filled.count("Not run yet") == 2, "once in the findings, once under the table"
    assert "- Ours: the network of the final epoch, mean ± sample standard deviation over n seeds (0, 1)" in filled
    assert filled.count("- Trained on a slide rule") == 1, "under the table"
    assert "- toy-deconv_bn reconstructs as well as toy-deconv: RLoss 20.00 ± 1.00 (n = 2) against 20.00" in filled
    assert "| toy-fc_bn | FC w/ BN | not run |" in filled
    assert with_results(filled) == filled
    shutil.rmtree(FOLDER)
    assert "<!-- table: toy/decoders -->\nNot made yet.\n<!-- end -->" in with_results(filled)


def test_the_findings_of_one_table_stand_alone_without_its_notes(study: Path) -> None:
    text = "<!-- findings: toy/decoders -->\nold\n<!-- end -->\n"
    without("toy-fc_bn")
    made()
    filled = with_results(text)
    assert filled.startswith("<!-- findings: toy/decoders -->\n- Not run yet: toy-fc_bn.\n- ")
    assert "- toy-deconv_bn reconstructs as well as toy-deconv: RLoss 20.00 ± 1.00 (n = 2) against 20.00" in filled
    assert "Ours: " not in filled
    assert "old" not in filled
    shutil.rmtree(FOLDER)
    assert with_results(text) == "<!-- findings: toy/decoders -->\nNot made yet.\n<!-- end -->\n"
    with pytest.raises(ValueError, match="study: got 'nobody', expected one of toy"):
        with_results(text.replace("toy", "nobody"))


def test_a_study_in_short_is_what_is_missing_and_a_sentence_for_each_table(study: Path) -> None:
    text = "<!-- in short: toy -->\nold\n<!-- end -->\n"
    without("toy-fc_bn")
    made()
    first, *others, end = with_results(text).removeprefix("<!-- in short: toy -->\n").splitlines()
    assert first.startswith("- No result yet: 1 of ")
    headlines = [table("toy", kind, load_params()).headline for kind in HEADLINES]
    assert others == [f"- {plain_cell(headline)}" for headline in headlines if headline]
    assert len(others) == len(HEADLINES)
    assert end == "<!-- end -->"
    shutil.rmtree(FOLDER / "tables")
    assert with_results(text).splitlines()[2:] == ["<!-- end -->"]
    with pytest.raises(ValueError, match="study: got 'toy/decoders', expected one of toy"):
        with_results(text.replace("toy", "toy/decoders"))


def test_a_table_of_a_gpu_says_that_nobody_measured_one_until_it_is_there(study: Path) -> None:
    text = "<!-- table: gpu/gpu -->\nold\n<!-- end -->\n"
    sentence = "`make gpu` has not been run to its end on a GPU yet."
    assert with_results(text) == f"<!-- table: gpu/gpu -->\n{sentence}\n<!-- end -->\n"
    table = Path("reports/gpu/tables/gpu.md")
    table.parent.mkdir(parents=True)
    table.write_text("| a card |\n")
    assert with_results(text) == "<!-- table: gpu/gpu -->\n| a card |\n<!-- end -->\n"


def test_an_unknown_study_is_refused_by_name(study: Path) -> None:
    with pytest.raises(ValueError, match="study: got 'nobody', expected one of toy"):
        results.main(["nobody"])


def test_a_study_of_which_nothing_is_run_has_a_page(project: Path) -> None:
    write_params(project, tiny_params() | {"seeds": [0]})
    page, readme = made()
    assert readme.count("None of these runs is trained yet.") == len(KINDS)
    assert "Somebody 2000" in page
    assert np.all([len(read_parts((FOLDER / f"tables/{kind}.md").read_text())[0].cells) > 1 for kind in KINDS])
