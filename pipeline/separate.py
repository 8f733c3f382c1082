"""Draw how a run separates overlapping pairs of test images: reports/<study>/figures/<run>/.

python -m pipeline.separate digits-pairs
"""

from collections.abc import Sequence

from pipeline.drawing.curves import curves
from pipeline.drawing.outputs import subjects, write_figures
from pipeline.drawing.separated_pairs import pairs
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.settings.params import find, load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "RUN", "a key of `pairs` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.pairs, "run")
    drawn = subjects([name], params)
    print(write_figures([curves(drawn), pairs(drawn[0], params.test_pairs)], name, entry.study, drawn, params))


if __name__ == "__main__":
    run_stage(main)
