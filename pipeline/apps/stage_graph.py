"""Draw the pipeline as one picture, docs/pipeline.svg: which stage needs which, as DVC reads it from dvc.yaml.

    python -m pipeline.apps.stage_graph

A box is a stage, however many data sets, runs or studies it has in dvc.yaml. An arrow that other arrows imply is left
out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import networkx

from capsnet.files import write_whole
from pipeline.runtime.command_line import parser, run_stage

DRAWING = Path("docs/pipeline.svg")
BOX = (118, 30)  # pixels
GAP = (32, 16)
MARGIN = 12
STYLE = """
  svg { background: #fff; font: 14px sans-serif }
  rect { fill: #eef3f8; stroke: #38618c; rx: 6px }
  text { text-anchor: middle; dominant-baseline: central; fill: #1b2a3a }
  path { fill: none; stroke: #7a8a99; stroke-width: 1.5px; marker-end: url(#tip) }
  .bend { marker-end: none }
  #tip path { fill: #7a8a99; stroke: none; marker-end: none }
"""

BEND = "to"  # in the name of a bend of an arrow; no stage has a space in its name
Needs = Mapping[str, set[str]]  # of each stage: those that it reads from


def stage_needs() -> dict[str, set[str]]:
    """Return which stages each stage of dvc.yaml needs directly, without the names after `@`."""
    from dvc.repo import Repo

    found: dict[str, set[str]] = {}
    with Repo() as repo:
        for stage, needed in repo.index.graph.edges:
            name, above = (each.addressing.partition("@")[0] for each in (stage, needed))
            found.setdefault(name, set()).add(above)
            found.setdefault(above, set())
    return found


def graph_of(needs: Needs) -> "networkx.DiGraph[str]":
    """Return the needs as a graph, with an edge from each stage to each that it needs."""
    return networkx.from_dict_of_lists(needs, create_using=networkx.DiGraph)


def without_implied(needs: Needs) -> dict[str, set[str]]:
    """Return the needs without those that follow from others."""
    reduced = networkx.transitive_reduction(graph_of(needs))
    return {stage: {*reduced[stage]} for stage in reduced}


def levels_of(needs: Needs) -> dict[str, int]:
    """Return the column of each stage: right of all that it needs."""
    generations = networkx.topological_generations(graph_of(needs).reverse())
    return {stage: number for number, stages in enumerate(generations) for stage in stages}


def with_bends(needs: Needs) -> dict[str, set[str]]:
    """Return the needs with a bend in every column that an arrow crosses, so that it passes between the boxes."""
    levels = levels_of(needs)
    bent: dict[str, set[str]] = {stage: set() for stage in needs}
    for stage in sorted(needs):
        for above in sorted(needs[stage]):
            last = above
            for number in range(levels[above] + 1, levels[stage]):
                bend = f"{above} {BEND} {stage} {number}"
                bent[bend] = {last}
                last = bend
            bent[stage].add(last)
    return bent


def columns_of(needs: Needs) -> list[list[str]]:
    """Return what is drawn in columns from left to right; in a column, each is as high as what it needs."""
    levels = levels_of(needs)
    columns: list[list[str]] = []
    height: dict[str, float] = {}
    for number in range(max(levels.values()) + 1):
        here = sorted(each for each in needs if levels[each] == number)
        middle = {each: sum(height[above] for above in needs[each]) / max(1, len(needs[each])) for each in here}
        here.sort(key=lambda each: (middle[each], each))
        height |= {each: place - (len(here) - 1) / 2 for place, each in enumerate(here)}
        columns.append(here)
    return columns


def as_svg(needs: Needs) -> str:
    """Return the drawing."""
    shown = with_bends(without_implied(needs))
    columns = columns_of(shown)
    width, height = (BOX[axis] + GAP[axis] for axis in (0, 1))
    tallest = max(map(len, columns))
    corner = {
        each: (MARGIN + number * width, MARGIN + (place + (tallest - len(column)) / 2) * height)
        for number, column in enumerate(columns)
        for place, each in enumerate(column)
    }
    size = (2 * MARGIN + len(columns) * width - GAP[0], 2 * MARGIN + tallest * height - GAP[1])
    arrows = [_arrow(corner[above], corner[each], each) for each in sorted(shown) for above in sorted(shown[each])]
    boxes = [_box(stage, corner[stage]) for stage in sorted(needs)]
    return "\n".join([*_head(size, without_implied(needs)), *arrows, *boxes, "</svg>", ""])


def _head(size: tuple[float, float], shown: Needs) -> Sequence[str]:
    words = "; ".join(f"{stage} needs {', '.join(sorted(above))}" for stage, above in sorted(shown.items()) if above)
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]:g} {size[1]:g}" '
        f'width="{size[0]:g}" role="img">',
        f"<title>The pipeline</title><desc>{words}</desc>",
        f"<style>{STYLE}</style>",
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0L8 4L0 8Z"/></marker>',
    ]


def _arrow(above: tuple[float, float], corner: tuple[float, float], name: str) -> str:
    """Return a curve from the right side of one box to the left side of another, or on through a bend."""
    start, end = (above[0] + BOX[0], above[1] + BOX[1] / 2), (corner[0], corner[1] + BOX[1] / 2)
    curve = (
        f"M{start[0]:g} {start[1]:g}C{start[0] + GAP[0]:g} {start[1]:g} "
        f"{end[0] - GAP[0]:g} {end[1]:g} {end[0]:g} {end[1]:g}"
    )
    return f'<path d="{curve}h{BOX[0]}" class="bend"/>' if f" {BEND} " in name else f'<path d="{curve}"/>'


def _box(stage: str, corner: tuple[float, float]) -> str:
    x, y = corner
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{BOX[0]}" height="{BOX[1]}"/>'
        f'<text x="{x + BOX[0] / 2:g}" y="{y + BOX[1] / 2:g}">{stage}</text>'
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the drawing."""
    parser(__doc__).parse_args(argv)
    write_whole(DRAWING, as_svg(stage_needs()))


if __name__ == "__main__":
    run_stage(main)
