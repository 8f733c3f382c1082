"""The page of a study and its README: what they say of results made by hand, and what a browser makes of the page."""

import json
import re
import shutil
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_study import FOLDER
from tiny_project import VARIANTS, tiny_params, write_params

from pipeline import report
from pipeline.report import plain
from pipeline.reporting.findings import FINDINGS
from pipeline.reporting.page import gather
from pipeline.runtime.command_line import run_stage
from pipeline.settings.params import load_params
from pipeline.settings.tables import KINDS

HOSTILE = """<script>alert("1")</script> & 'it' | *b* [x](y) {{ 7 }} `c`"""
PICTURES = ["curves", "curves", "pairs", "reconstructions", "rotation", "history", "parallel", "contour", "importance"]
NO_BREAK = "\u00a0"


class Seen(HTMLParser):
    """The text of a page, its tags in order, and the names of what a tag may load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]


def made() -> tuple[Seen, str]:
    report.main(["toy"])
    return Seen((FOLDER / "index.html").read_text()), (FOLDER / "README.md").read_text()


def test_each_kind_of_table_has_findings() -> None:
    assert set(FINDINGS) == set(KINDS)


def test_page_and_readme_show_every_picture_with_caption_files_and_command(study: Path) -> None:
    page, readme = made()
    for words in ("They fall.", "They resemble.", "It turns.", "Found in rotation.", "Found in pairs."):
        assert words in page.text
        assert words in readme
    targets = {link["href"] for link in page.all("a")}
    for path in FOLDER.rglob("*"):
        if path.suffix in (".png", ".pdf", ".gif"):
            assert path.relative_to(FOLDER).as_posix() in targets, path
    for command in ("compare@toy-decoders", "draw@squares", "tabulate@toy-decoders", "tune@toy", "evaluate-tuned@toy"):
        assert f"dvc repro {command}" in page.text
        assert f"dvc repro {command}" in readme


def test_the_page_begins_with_a_picture_and_three_findings_that_lead_to_their_evidence(study: Path) -> None:
    page, readme = made()
    (first,) = (place for place, (tag, _) in enumerate(page.tags) if tag == "nav")
    before = page.tags[:first]
    pictures = [attributes for tag, attributes in before if tag == "img" and "image/webp" in attributes["src"]]
    assert [each["alt"] for each in pictures] == ["Seen"]
    assert ("figure", {"id": "figure-squares-rotation"}) in before
    links = [attributes["href"] for tag, attributes in before if tag == "a"]
    assert [link for link in links if link.startswith("#table-")] == [
        "#table-benchmarks",
        "#table-decoders",
        "#table-robustness",
    ]
    findings = gather("toy", load_params()).summary.findings
    assert [each.sentence for each in findings] == [
        "toy-fc (FC) recognises 98.00 ± 1.41 % of the squares test images (n = 2; published 98.00 %; made & 100 % by "
        "hand).",
        "All 5 runs reconstruct with a squared error of 20.00 per image.",
        "toy-fc recognises 98.00 % of the upright test images (n = 2), but 15.00 % if they are rotated by 90°.",
    ]
    for each in findings:
        assert each.sentence in page.text.replace(NO_BREAK, " ")
        assert plain(each.sentence) in readme


def test_figures_are_findings_where_there_are_no_tables(study: Path) -> None:
    values = tiny_params()
    values["studies"]["toy"]["tables"] = []
    write_params(study, values | {"tables": {}})
    summary = gather("toy", load_params()).summary
    assert summary.figure is not None
    assert summary.figure.anchor == "figure-squares-rotation"
    expected = ["figure-toy-decoders-curves", "figure-squares-reconstructions", "figure-toy-pairs-curves"]
    assert [finding.anchor for finding in summary.findings] == expected


def test_no_picture_is_shown_twice(study: Path) -> None:
    folder = FOLDER / "figures/squares"
    shutil.copy(folder / "rotation.png", folder / "curves.png")
    told = json.loads((folder / "figures.json").read_text())
    told["figures"].append({**told["figures"][0], "name": "curves", "caption": "Shown already."})
    (folder / "figures.json").write_text(json.dumps(told))
    page, readme = made()
    for text in (page.text, readme):
        assert "Shown already." not in text
        assert "The comparison of several runs shows the learning curves." in text
        assert "At the top of the page: Seen." in text
        assert text.count("It turns.") == 1


def test_every_link_of_page_and_readme_leads_to_a_file_a_place_or_mlflow(study: Path) -> None:
    page, readme = made()
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert len(places) == sum("id" in attributes for _, attributes in page.tags)
    for target in [link["href"] for link in page.all("a")] + re.findall(r'\]\((.*?)\)|src="(.*?)"', readme):
        target = target if isinstance(target, str) else "".join(target)
        if target.startswith("#"):
            assert target[1:] in places
        elif not target.startswith("http://127.0.0.1:5000/#/experiments/1/runs?searchFilter="):
            assert (FOLDER / target).is_file(), target


def test_the_page_has_all_that_it_shows_in_itself(study: Path) -> None:
    page, _ = made()
    images = page.all("img")
    assert len(images) == len(PICTURES) + 1
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in images)
    assert sum(image["src"].startswith("data:image/gif") for image in images) == 1
    assert all(link["href"] == "data:," for link in page.all("link"))
    assert not any("src" in script for script in page.all("script"))
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")


def test_the_notes_of_a_table_stand_under_it_and_those_of_pictures_beside_them(study: Path) -> None:
    page, readme = made()
    tables = tiny_params()["studies"]["toy"]["tables"]
    for text in (page.text, readme):
        assert text.count("a slide rule") == len(tables)
        assert text.count("An ensemble is one result") == 0
        assert text.count("Data: drawn by hand.") == 3


def test_the_settings_show_what_differs_first(study: Path) -> None:
    page = gather("toy", load_params())
    assert page.differing[0] == ["Run", "task", "decoder", "lr", "batch_norm"]
    assert [row[0] for row in page.differing[1:]] == [*sorted([*VARIANTS, "toy-pairs"]), "toy-tuned"]
    assert page.differing[-1] == ["toy-tuned", "classify", "fc", "0.05", "false"]
    assert ["seeds", *["[0, 1]"] * 5, "[0, 1]"] in page.settings


def test_a_setting_that_a_run_was_scored_without_is_empty_there(study: Path) -> None:
    path = FOLDER / "metrics/toy-tuned.json"
    metrics = json.loads(path.read_text())
    del metrics["settings"]["padding"]
    path.write_text(json.dumps(metrics))
    assert ["padding", *["valid"] * 5, ""] in gather("toy", load_params()).settings


def test_text_from_outside_is_shown_as_it_stands(study: Path) -> None:
    values = tiny_params()
    values["studies"]["toy"] |= {"title": HOSTILE, "about": HOSTILE}
    write_params(study, values)
    for path in FOLDER.rglob("figures.json"):
        told = json.loads(path.read_text())
        told["note"] = HOSTILE
        told["figures"][0] |= dict.fromkeys(("title", "finding", "caption"), HOSTILE)
        path.write_text(json.dumps(told))
    page, readme = made()
    assert len(page.all("script")) == 1
    assert page.text.count(HOSTILE) >= 6
    assert "<script>" not in readme.replace("\\<script", "")
    assert readme.startswith(f"# {plain(HOSTILE)}\n")


@pytest.mark.parametrize(
    ("written", "shown"), [("a_b _c_", r"a_b \_c\_"), ("<i>", r"\<i\>"), ("[x](y)", r"\[x\](y)"), ("1.5 %", "1.5 %")]
)
def test_what_means_something_to_markdown_is_escaped(written: str, shown: str) -> None:
    assert plain(written) == shown


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("tables/robustness.md", "tabulate@toy-robustness"),
        ("tables/decoders.csv", "tabulate@toy-decoders"),
        ("figures/squares/rotation.png", "draw@squares"),
        ("tuning/toy/contour.png", "tune@toy"),
    ],
)
def test_a_lost_file_is_named_with_the_stage_that_makes_it(
    missing: str, command: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (FOLDER / missing).unlink()
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(report.main, ["toy"]))
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {FOLDER / missing}: no such file; `dvc repro {command}` makes it\n"


def test_pictures_of_an_earlier_version_are_refused_with_the_stage_that_draws_them(study: Path) -> None:
    listing = FOLDER / "figures/squares/figures.json"
    told = json.loads(listing.read_text())
    del told["figures"][0]["finding"]
    listing.write_text(json.dumps(told))
    with pytest.raises(
        ValueError, match=r"squares/figures\.json: of another version .*`dvc repro draw@squares` makes it"
    ):
        gather("toy", load_params())


def test_a_study_without_tables_pictures_and_searches_has_a_page(study: Path) -> None:
    values = tiny_params()
    values["studies"]["toy"]["tables"] = []
    write_params(study, values | {"tables": {}, "figures": {}, "compare": {}, "pairs": {}, "tune": {}})
    page, readme = made()
    assert "Tables" not in page.text + readme
    assert page.all("img") == []


def test_the_same_files_give_the_same_page(study: Path) -> None:
    made()
    before = [(FOLDER / name).read_bytes() for name in ("index.html", "README.md")]
    made()
    assert [(FOLDER / name).read_bytes() for name in ("index.html", "README.md")] == before


def test_commands_in_notes_are_code_and_anything_else_is_text(study: Path) -> None:
    assert report.with_commands("<b> `dvc repro x` & more") == "&lt;b&gt; <code>dvc repro x</code> &amp; more"
