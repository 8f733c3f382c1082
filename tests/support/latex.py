"""Reads tables in LaTeX as far as ours use it, for tests that compare them with what went in."""

import re

from pipeline.reporting.typeset import LATEX, Cells


def parse_latex(text: str) -> tuple[str, Cells]:
    """Return the caption and the cells of a table, read as strictly as TeX: anything unknown or unbalanced fails."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith("% ")]
    assert all(character.isprintable() or character == "\n" for character in text)
    assert lines[:2] == [r"\begin{table}", r"\centering\footnotesize"]
    assert lines[3].startswith(r"\label{tab:")
    assert lines[-3:] == [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    opened = re.fullmatch(r"\\begin\{tabular\}\{([lr]+)\}", lines[4])
    assert opened
    assert (lines[5], lines[7]) == (r"\toprule", r"\midrule")
    rows = [lines[6], *lines[8:-3]]
    for row in rows:
        assert row.endswith(r" \\") or row == r"\\"
        assert not row.startswith(("[", "*"))
    cells = [[read_text(cell) for cell in split_cells(row.removesuffix(r"\\").strip(" "))] for row in rows]
    assert {len(row) for row in cells} == {len(opened[1])}
    caption = re.fullmatch(r"\\caption\{(.*)\}", lines[2])
    assert caption
    return read_text(caption[1]), cells


def split_cells(row: str) -> list[str]:
    return [cell.strip(" ") for cell in re.split(r"(?<!\\)&", row)]


def read_text(source: str) -> str:
    """Undo `escape`, token by token. Fails for a character that would mean something to TeX."""
    tokens = {written: character for character, written in LATEX.items() if character not in '"\n'}
    tokens |= {"-{}": "-"}
    text = ""
    while source:
        token = max((token for token in tokens if source.startswith(token)), key=len, default="")
        if token:
            text, source = text + tokens[token], source[len(token) :]
        else:
            assert source[0] not in '\\{}&%$#_^~<>|`"[]*±×−°', source
            text, source = text + source[0], source[1:]
    return text
