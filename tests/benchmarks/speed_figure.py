"""One figure for a column: speed and peak memory of each implementation on each network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from capsnet.files import whole_file
from pipeline.drawing.style import COLOURS
from pipeline.runtime.paths import FIGURES
from tests.benchmarks.cases import STEP_LABELS, TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = ("", "////", "....", "xxxx")  # grey prints tell the bars apart, too
PANELS = (("images_per_second", "images/s"), ("peak_mb", "peak memory (MB)"))
WIDTH = 3.5  # inches: a column


def draw(rows: Sequence[Mapping[str, object]]) -> "Figure":
    """Draw the rows of steps.csv; whiskers of the speed reach from the slowest round to the fastest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(2, 1)
    for axes, (column, title) in zip(panels, PANELS, strict=True):
        _draw_panel(axes, rows, column, title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=7)
    return figure


def _draw_panel(axes: "Axes", rows: Sequence[Mapping[str, object]], column: str, title: str) -> None:
    cases = list(dict.fromkeys(str(row["case"]) for row in rows))
    width = 0.8 / len(STEP_LABELS)
    for place, (name, label) in enumerate(STEP_LABELS.items()):
        mine = {str(row["case"]): row for row in rows if row["implementation"] == name}
        if not mine:
            continue
        at = [number + (place - 1.5) * width for number, case in enumerate(cases) if case in mine]
        heights = [float(str(row[column])) for row in mine.values()]
        bars = axes.bar(at, heights, 0.9 * width, label=label, color=COLOURS[place], hatch=HATCHES[place])
        for bar in bars:
            bar.set(edgecolor="white", linewidth=0)
        tops = heights
        if f"{column}_low" in rows[0]:
            low, tops = ([float(str(row[f"{column}_{end}"])) for row in mine.values()] for end in ("low", "high"))
            axes.vlines(at, low, tops, color="black", linewidth=0.8)
        for x, top, height in zip(at, tops, heights, strict=True):
            above = {"textcoords": "offset points", "xytext": (0, 2), "ha": "center"}
            axes.annotate(f"{height:.0f}", (x, top), fontsize=6, **above)
    axes.set_xticks(range(len(cases)), [TITLES[case].replace(" ", "\n", 1).replace(", ", "\n", 1) for case in cases])
    axes.set_ylabel(title, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.12)
    axes.grid(axis="y", alpha=0.3, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def write_figure(folder: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write it; no time of day gets into the file."""
    with whole_file(folder / FIGURES / "steps.png") as temporary:
        draw(rows).savefig(temporary, format="png", dpi=300)
