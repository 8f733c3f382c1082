"""The drawing of the pipeline in the docs."""

import re
import subprocess
import sys
from itertools import combinations

import networkx
from ruamel.yaml import YAML
from tiny_project import ROOT

from pipeline.apps.stage_graph import BOX, as_svg, graph_of, levels_of, without_implied

NEEDS = {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": {"a", "c"}}


def test_the_drawing_in_the_docs_is_that_of_dvc_yaml_and_fits_a_screen() -> None:
    # In a process of its own: DVC warns, and warnings are errors here.
    code = "from pipeline.apps.stage_graph import as_svg, stage_needs; print(as_svg(stage_needs()), end='')"
    now = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    drawn = (ROOT / "docs/pipeline.svg").read_text()
    assert drawn == now, "`make readme` draws it"
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    assert sorted(re.findall(r">([\w-]+)</text>", drawn)) == sorted(stages)
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)[0])
    assert width <= 1100
    assert height <= 500


def test_an_arrow_that_others_imply_is_left_out_and_nothing_else() -> None:
    shown = without_implied(NEEDS)
    assert shown == {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"c"}}
    for stage in NEEDS:
        assert networkx.descendants(graph_of(shown), stage) == networkx.descendants(graph_of(NEEDS), stage)


def test_a_stage_stands_one_column_right_of_the_last_that_it_needs() -> None:
    assert levels_of(NEEDS) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert levels_of({"f": {"a", "d"}, **NEEDS}) == {"a": 0, "b": 1, "c": 2, "d": 3, "f": 4}


def test_no_box_lies_on_another_and_no_long_arrow_on_a_box() -> None:
    drawn = as_svg({**NEEDS, "e": {"a"}, "f": {"d", "e"}})
    corners = [tuple(map(float, found)) for found in re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"', drawn)]
    assert len(corners) == 6
    for one, other in combinations(corners, 2):
        assert abs(one[0] - other[0]) >= BOX[0] or abs(one[1] - other[1]) >= BOX[1]
    bends = re.findall(r'([\d.]+) ([\d.]+)h[\d.]+" class="bend"', drawn)
    assert len(bends) == 2  # from e, past the columns of c and d
    for x, y in ((float(x), float(y)) for x, y in bends):
        assert not any(left == x and top <= y <= top + BOX[1] for left, top in corners)
