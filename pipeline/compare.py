"""Draw four runs beside each other: reports/<study>/figures/<name>/.

    python -m pipeline.compare digits-decoders

The networks are in models/, otherwise in published/. Of a run without one, only the learning curve is drawn, if it is
recorded; the run is named. At least two runs must have a network.
"""

from collections.abc import Sequence

from pipeline.drawing.curves import curves
from pipeline.drawing.outputs import records, subjects, write_figures
from pipeline.drawing.reconstructions import reconstructions
from pipeline.drawing.subject import history_path
from pipeline.runtime.command_line import name_argument, run_stage
from pipeline.runtime.weights import can_be_drawn, models_of
from pipeline.settings.params import find, load_params


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "NAME", "a key of `compare` in params.yaml", argv)
    params = load_params()
    entry = find(name, params.compare, "compare")
    there = [run for run in entry.runs if can_be_drawn(run)]
    missing = [run for run in entry.runs if run not in there]
    if len(there) < 2:
        models_of(missing[0])  # which says what trains it
    drawn = subjects(there, params)
    recorded = [run for run in entry.runs if run in there or history_path(entry.study, run).is_file()]
    left_out = [
        f"{run}: its weights are not here, so only its curve is drawn (`dvc repro evaluate@{run}` trains it again)"
        if run in recorded
        else f"{run}: it is not trained here (`dvc repro evaluate@{run}` trains it)"
        for run in missing
    ]
    drawings = [curves(records(recorded, params)), reconstructions(drawn)]
    print(write_figures(drawings, name, entry.study, drawn, params, left_out))


if __name__ == "__main__":
    run_stage(main)
