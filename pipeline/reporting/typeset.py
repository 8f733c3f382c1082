"""Tables as people read them: rows of cells, the header first, as Markdown and as LaTeX."""

import re
from collections.abc import Sequence
from typing import NamedTuple

Cells = list[list[str]]

NOT_RUN = "not run"  # stands for a number that is not there yet
NUMBER = re.compile(r"[+−]?[\d.,]+(e[+-]\d+)?( ± [\d.,]+)?")
# What has a meaning in a cell of Markdown: an underscore at the edge of a word, [ only before a link, & in an entity.
MARKUP = re.compile(r"[\\`*<|]|(?<!\w)_|_(?!\w)|~(?=~)|&(?=#?\w+;)|\[(?=[^\]]*\]\()")
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    # LaTeX would read these as options if they followed the end of a row.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "°": r"$^\circ$",
    "\n": " ",
}


class Part(NamedTuple):
    """Cells with a heading of their own; the heading is empty if the table has one part."""

    title: str
    cells: Cells


def numeric(cells: Cells) -> list[bool]:
    """Say for each column whether it holds numbers, which are aligned to the right and sorted by value."""
    columns = [[row[place] for row in cells[1:]] for place in range(len(cells[0]))]
    return [all(cell in ("", NOT_RUN) or NUMBER.fullmatch(cell) for cell in column) for column in columns]


def markdown(cells: Cells) -> str:
    """Return a table in GitHub's Markdown."""
    header, *body = [[plain_cell(cell) for cell in row] for row in cells]
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_parts(parts: Sequence[Part]) -> str:
    """Return the parts of a table in GitHub's Markdown, each below its heading."""
    return "\n".join(
        (f"**{plain_cell(part.title)}**\n\n" if part.title else "") + markdown(part.cells) for part in parts
    )


def plain_cell(text: str) -> str:
    """Return text that a cell of Markdown shows unchanged, in one line."""
    return MARKUP.sub(r"\\\g<0>", text).replace("\n", " ")


def plain_note(text: str) -> str:
    """Return text that an item of a list in Markdown shows unchanged, but for the commands between `...` in it."""
    return plain_cell(text).replace(r"\`", "`")


def unescaped(text: str) -> str:
    """Return the text that `plain_cell` or `plain_note` was given, without its ends of lines."""
    return re.sub(r"\\(.)", r"\1", text)


def read_parts(text: str) -> list[Part]:
    """Return the parts of the table that `markdown_parts` wrote; other lines are skipped."""
    parts: list[Part] = []
    title = before = ""
    for line in text.splitlines():
        if line.startswith("**") and line.endswith("**"):
            title = unescaped(line[2:-2])
        elif line.startswith("| "):
            if not before.startswith("| "):
                parts.append(Part(title, []))
            row = re.split(r" \| ", line.removeprefix("| ").removesuffix(" |"))
            parts[-1].cells.append([unescaped(cell) for cell in row])
        before = line
    return [Part(part.title, [part.cells[0], *part.cells[2:]]) for part in parts]


def latex(cells: Cells, caption: str, label: str, comments: Sequence[str] = ()) -> str:
    """Return a floating table for a document that loads booktabs; numbers are aligned to the right."""
    header, *body = [" & ".join(map(escape, row)) + r" \\" for row in cells]
    alignment = "".join("r" if number else "l" for number in numeric(cells))
    lines = [
        *(f"% {comment}".replace("\n", " ") for comment in ("Needs \\usepackage{booktabs}.", *comments)),
        r"\begin{table}",
        r"  \centering\footnotesize",
        rf"  \caption{{{escape(caption)}}}",
        rf"  \label{{{label}}}",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        f"    {header}",
        r"    \midrule",
        *(f"    {row}" for row in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text that LaTeX prints unchanged; its input is UTF-8."""
    text = "".join(LATEX.get(character, character) for character in text)
    return re.sub("-(?=-)", "-{}", text)  # two of them would become a dash
