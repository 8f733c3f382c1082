"""Tables as Markdown and LaTeX hold whatever a cell says."""

import html
import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latex import parse_latex

from pipeline.reporting.typeset import (
    LATEX,
    Cells,
    Part,
    escape,
    latex,
    markdown,
    markdown_parts,
    plain_note,
    read_parts,
    unescaped,
)

# Everything that means something to TeX or to Markdown, and what the tables themselves use.
HOSTILE = st.text(alphabet=[*LATEX, "-", "'", "a", "é", " ", "1", ",", "%", "|", "\\"], max_size=12).map(str.strip)


def rectangles(height: int = 4, width: int = 4) -> st.SearchStrategy[Cells]:
    return st.integers(1, width).flatmap(
        lambda columns: st.lists(st.lists(HOSTILE, min_size=columns, max_size=columns), min_size=2, max_size=height)
    )


@given(cells=rectangles(), caption=HOSTILE)
def test_latex_holds_whatever_the_cells_say(cells: Cells, caption: str) -> None:
    read_caption, read_cells = parse_latex(latex(cells, caption, "tab:x", ["a\nb"]))
    plain = partial(re.sub, r"\s+", " ")
    assert plain(read_caption) == plain(caption.replace('"', "''"))
    assert [[plain(cell) for cell in row] for row in read_cells] == [
        [plain(cell.replace('"', "''")) for cell in row] for row in cells
    ]


@given(cells=rectangles())
def test_markdown_holds_whatever_the_cells_say(cells: Cells) -> None:
    assert read_parts(markdown(cells))[0].cells == [[cell.replace("\n", " ") for cell in row] for row in cells]


def test_columns_of_numbers_stand_to_the_right_and_others_to_the_left() -> None:
    cells = [
        ["Run", "n", "Acc", "Diff", "Source"],
        ["a-b", "3", "1,234 ± 0.5", "−0.02", "x 1"],
        ["c", "", "1", "+1", ""],
    ]
    text = latex(cells, "", "tab:x")
    assert r"\begin{tabular}{lrrrl}" in text
    assert r"a-b & 3 & 1,234 $\pm$ 0.5 & $-$0.02 & x 1 \\" in text


def test_dashes_are_not_joined() -> None:
    assert escape("a--b---c-d") == "a-{}-b-{}-{}-c-d"


MARKED_UP = [
    "a*b*",
    "`code`",
    "[text](http://x)",
    "<b>x</b>",
    "_x_ y_z",
    "~~gone~~",
    "&lt;",
    "a|b",
    "back\\\\slash",
    "a\nb",
]


@pytest.mark.parametrize("text", MARKED_UP)
def test_markup_in_a_name_or_a_source_is_shown_as_it_is_written(text: str) -> None:
    from markdown_it import MarkdownIt

    table = markdown_parts([Part(text, [["Run", "Source"], ["a", text]])])
    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(table)
    content = html.unescape(re.sub(r"</?(table|thead|tbody|tr|th|td|p|strong)>", "", shown))
    assert content.split() == f"{text} Run Source a {text}".split()
    assert read_parts(table)[0].cells[1][1] == text.replace("\n", " ")
    assert unescaped(plain_note(text)) == text.replace("\n", " ")
