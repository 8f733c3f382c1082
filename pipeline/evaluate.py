"""Score every seed of a run, and the ensemble of all seeds, on the test set.

The scores are written to reports/<study>/metrics/<run>.json, the confusion matrices to <run>-confusion.csv. The
training history is copied to <run>-history.csv beside them: models are not in git, results are. Three scores and the
mean learning curve go to reports/scores/ and reports/curves/, which DVC compares. A run that separates
is scored on pairs of test images. A pair counts as right if both classes are found; the confusion matrices count each
image.

    python -m pipeline.evaluate digits-fc
    python -m pipeline.evaluate digits-fc --out /tmp/try     (the models that `train --out` wrote, scored in place)
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsnet.files import write_whole
from pipeline.runtime.advice import no_better_than_guessing
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, SCORES, csv_text, model_files, models_in
from pipeline.scoring.compared import write_compared
from pipeline.settings.params import load_params
from pipeline.tracking.recorded_scores import record_scores


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    made = parser(__doc__, ("RUN", "a key of `runs` in params.yaml, or <search>-tuned"))
    made.add_argument("--out", metavar="DIR", type=Path, help="a folder that `train --out` wrote")
    arguments = made.parse_args(argv)
    params = load_params()
    name = arguments.run
    study = params.study_of(name)
    if arguments.out and not models_in(arguments.out):
        train = f"python -m pipeline.train {name} --out {arguments.out}"
        raise FileNotFoundError(f"--out: {arguments.out}: no trained models; `{train}` makes them")
    target = arguments.out or REPORTS / study / METRICS
    folder = arguments.out or MODELS / name
    model_files(folder)  # before torch is loaded, so that the error about a run without models comes at once

    from pipeline.scoring.metrics import metrics_of_run

    metrics, confusion = metrics_of_run(name, folder, params.test_pairs)
    write_whole(target / f"{name}.json", json.dumps(metrics, indent=2) + "\n")
    write_whole(target / f"{name}-confusion.csv", csv_text(confusion))
    if not arguments.out:  # with --out the history is in that folder already
        history = (folder / "history.csv").read_bytes()
        write_whole(target / f"{name}-history.csv", history)
        write_compared(name, metrics, history.decode())
    record_scores(folder, metrics, "evaluate")
    print(", ".join(f"{key} {metrics[f'{key}_mean']:.4g}" for key in SCORES if f"{key}_mean" in metrics), f"({name})")
    if advice := no_better_than_guessing(metrics, confusion):
        print(f"warning: {name}: {advice}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
