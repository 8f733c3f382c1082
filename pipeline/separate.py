"""Draw how a run takes pairs of test images apart: reports/<study>/figures/<run>/.

python -m pipeline.separate digits-pairs
"""

from collections.abc import Sequence

from pipeline.drawing.curves import curves
from pipeline.drawing.outputs import publish, subjects
from pipeline.drawing.overlap import pairs
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.settings.params import find, load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "RUN", "a key of `pairs` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.pairs, "run")
    seen = subjects([name], params)
    print(publish([curves(seen), pairs(seen[0], params.test_pairs)], name, entry.study, seen, params))


if __name__ == "__main__":
    run_stage(main)
