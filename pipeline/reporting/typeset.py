"""Tables as people read them: rows of cells, header first, as Markdown and as LaTeX."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

Cells = list[list[str]]

NOT_RUN = "not run"  # in the place of a number that nobody has
NUMBER = re.compile(r"[+−]?[\d.,]+(e[+-]\d+)?( ± [\d.,]+)?")
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
    # After the end of a row these would be read as its options.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "°": r"$^\circ$",
    "\n": " ",
}


def spread(mean: float, std: float, digits: int) -> str:
    """Return "mean ± std", the mean alone for a single seed, and nothing for nothing."""
    if pd.isna(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if pd.isna(std) else f" ± {std:.{digits}f}")


def word(value: object) -> str:
    """Return a setting as params.yaml writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def numeric(cells: Cells) -> list[bool]:
    """Say of each column whether it holds numbers: those stand to the right, and are sorted by value."""
    columns = [[row[place] for row in cells[1:]] for place in range(len(cells[0]))]
    return [all(cell in ("", NOT_RUN) or NUMBER.fullmatch(cell) for cell in column) for column in columns]


def readable(table: pd.DataFrame) -> Cells:
    """Return a table as people read it: means with their spread, empty columns left out; no seeds are "not run"."""
    missing = table["seeds"].eq(0).fillna(False)
    named = {"factor": "Setting", "value": "Value", "run": "Run", "model": "Model", "dataset": "Data"}
    shown = pd.DataFrame({title: table[column] for column, title in named.items() if column in table})
    for key, title, digits in (("accuracy", "Accuracy (%)", 2), ("rloss", "RLoss", 2), ("mloss", "MLoss", 4)):
        if f"{key}_mean" in table:
            pairs = zip(table[f"{key}_mean"], table[f"{key}_std"], strict=True)
            shown[title] = [spread(mean, std, digits) for mean, std in pairs]
        if key == "accuracy":
            shown.loc[missing, title] = NOT_RUN
        if f"published_{key}" in table:
            shown[f"{title}, published"] = [spread(value, float("nan"), digits) for value in table[f"published_{key}"]]
        if key == "accuracy":
            signed = [None if pd.isna(value) else f"{value:+.2f}" for value in table["difference"]]
            shown["Difference (points)"] = [value and value.replace("-", "−") for value in signed]
    shown["n"], shown["Epochs"] = table["seeds"], table["epochs"]
    for column, title in (("decoder_parameters", "Decoder parameters"), ("parameters", "Parameters")):
        if column in table:
            shown[title] = ["" if pd.isna(value) else f"{value:,}" for value in table[column]]
    if "source" in table:
        shown["Source"] = table["source"]
    shown = shown.astype(object).where(shown.notna(), "").astype(str)
    shown = shown[[column for column in shown if (shown[column] != "").any()]]
    return [list(shown.columns), *(list(row) for row in shown.itertuples(index=False))]


def costs_readable(table: pd.DataFrame) -> Cells:
    """Return a table of costs as people read it; columns of words that say nothing are left out."""
    columns: list[tuple[str, str, Callable[[Any], str]]] = [
        ("run", "Run", str),
        ("model", "Model", str),
        ("dataset", "Data", str),
        ("seconds_an_epoch", "Seconds an epoch", "{:,.1f}".format),
        ("epochs", "Epochs", str),
        ("seeds", "n", str),
        ("hours", "Hours in all", "{:,.2f}".format),
        ("peak_memory_mb", "Peak memory (MB)", "{:,.0f}".format),
        ("hardware", "Hardware", str),
        ("commit", "Commit", str),
        ("remark", "Remark", str),
    ]
    shown = {title: ["" if pd.isna(v) else form(v) for v in table[column]] for column, title, form in columns}
    kept = [title for title, cells in shown.items() if any(cells) or not cells]
    return [kept, *map(list, zip(*(shown[title] for title in kept), strict=True))]


def markdown(cells: Cells) -> str:
    """Return a table in GitHub's Markdown."""
    header, *body = [
        [cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in row] for row in cells
    ]
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read_markdown(text: str) -> Cells:
    """Return the cells of the table that `markdown` wrote; lines that are no row are passed over."""
    lines = [line.removeprefix("| ").removesuffix(" |") for line in text.splitlines() if line.startswith("| ")]
    rows = [[re.sub(r"\\(.)", r"\1", cell) for cell in re.split(r" \| ", line)] for line in lines]
    return [rows[0], *rows[2:]]


def latex(cells: Cells, caption: str, label: str, comments: Sequence[str] = ()) -> str:
    """Return a floating table for a document that loads booktabs; columns of numbers stand to the right."""
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
    """Return text that LaTeX, reading UTF-8, sets as it stands."""
    text = "".join(LATEX.get(character, character) for character in text)
    return re.sub("-(?=-)", "-{}", text)  # two of them would become a dash
