"""Draw four runs beside each other: reports/<study>/figures/<name>/.

python -m pipeline.compare digits-decoders
"""

from collections.abc import Sequence

from pipeline.config import find, load_params
from pipeline.drawing.curves import curves
from pipeline.drawing.reconstructions import reconstructions
from pipeline.drawing.stage import publish, subjects
from pipeline.stage import name_argument, run_stage


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "NAME", "a key of `compare` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.compare, "compare")
    seen = subjects(entry.runs, params)
    print(publish([curves(seen), reconstructions(seen)], name, entry.study, seen, params))


if __name__ == "__main__":
    run_stage(main)
