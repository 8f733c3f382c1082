"""Score every seed of a run, and all of them as one ensemble, on the test set.

They are in reports/<study>/metrics/<run>.json, the confusion matrices in <run>-confusion.csv. What training gave, epoch
by epoch, is copied to <run>-history.csv beside them: models are not in git, results are. A run that separates pairs is
scored on pairs of test images, right where both classes are; its confusion matrices count each image.

python -m pipeline.evaluate digits-fc
python -m pipeline.evaluate digits-fc --out /tmp/try     (the models of an ad hoc training, scored in that folder)
"""

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from capsnet.files import write_whole
from pipeline.runtime.advice import after_evaluation
from pipeline.runtime.command_line import parser, run_stage
from pipeline.runtime.device import configure_torch
from pipeline.runtime.paths import METRICS, MODELS, REPORTS, TUNED, csv_text, model_files, models_in
from pipeline.runtime.prepared import Prepared, read_prepared
from pipeline.settings.params import Pairing, load_params, recorded_run
from pipeline.settings.runs import Run
from pipeline.tracking.recorder import find_trained

if TYPE_CHECKING:
    from torch import Tensor

    from capsnet.evaluation.recognition import Scores
    from capsnet.networks.capsnet import CapsNet

SCORES = ("accuracy", "rloss", "mloss")


class Scored(NamedTuple):
    """The scores of each seed, and the classes that there were to be found: one an image, or two a pair."""

    seeds: "dict[int, Scores]"
    labels: "Tensor"


def evaluate_run(name: str, folder: Path, pairing: Pairing) -> tuple[dict[str, Any], list[dict[str, int]]]:
    """Return the metrics of all seeds in `folder`, and their confusion matrices as rows of counts."""
    files = model_files(folder)
    from capsnet.networks.saved import read_settings

    first = next(iter(files.values()))
    run = recorded_run(read_settings(first), str(first))
    hardware = configure_torch(run.device, run.threads)
    data = read_prepared(run.dataset, "test", hardware.device)

    from capsnet.evaluation.recognition import ensemble_accuracy
    from capsnet.networks.saved import load

    models = {seed: load(path).to(hardware.device) for seed, path in files.items()}
    seeds, labels = score(models, run, data, pairing)
    more: dict[str, Any] = {}
    if len(seeds) > 1:
        accuracy = ensemble_accuracy([scores.lengths for scores in seeds.values()], labels)
        more["ensemble"] = {"size": len(seeds), "accuracy": accuracy}
    if run.task == "separate":
        more["pairs"] = _about_pairs(seeds, len(labels))
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    first_model, *_ = models.values()
    metrics = {**facts_of(name, run, data, first_model), **summary(seeds), **more, **environment}
    confusion = [
        {"seed": seed, "actual": actual, "predicted": predicted, "count": count}
        for seed, scores in seeds.items()
        for actual, row in enumerate(scores.confusion.tolist())
        for predicted, count in enumerate(row)
    ]
    return metrics, confusion


def score(models: "Mapping[int, CapsNet]", run: Run, data: Prepared, pairing: Pairing) -> Scored:
    """Score networks of a run by seed, on the images or, if they separate, on pairs of them."""
    from capsnet.evaluation.recognition import evaluate

    if run.task == "separate":
        return _score_pairs(models, data, pairing)
    return Scored({seed: evaluate(model, data.images, data.labels) for seed, model in models.items()}, data.labels)


def _score_pairs(models: "Mapping[int, CapsNet]", data: Prepared, pairing: Pairing) -> Scored:
    from capsnet.evaluation.separation import evaluate_pairs, fixed_pairs

    first, *_ = models.values()
    pairs = fixed_pairs(first, data.images, data.labels, **pairing.model_dump())
    seeds = {seed: evaluate_pairs(model, data.images, data.labels, pairs) for seed, model in models.items()}
    return Scored(seeds, data.labels[pairs.places])


def _about_pairs(seeds: "Mapping[int, Scores]", number: int) -> dict[str, Any]:
    """Return what is to be known about pairs besides their accuracy: their number, and accuracies of single images."""
    each = {str(seed): scores.class_accuracy for seed, scores in seeds.items()}
    return {"number": number, "image_accuracy": each, "image_accuracy_mean": statistics.mean(each.values())}


def facts_of(name: str, run: Run, data: Prepared, model: "CapsNet") -> dict[str, Any]:
    """Return what is known of a run's networks besides their scores."""
    decoder = model.decoder
    return {
        "run": name,
        "model": run.label + (", tuned" if name.endswith(TUNED) else ""),
        "dataset": run.dataset,
        "note": data.manifest.note,
        "test_images": len(data.labels),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "decoder_parameters": sum(parameter.numel() for parameter in decoder.parameters()) if decoder else 0,
        "epochs": run.epochs,
        "lr": run.lr,
        "alpha": run.alpha,
        "settings": run.model_dump(),
    }


def summary(seeds: "Mapping[int, Scores]") -> dict[str, Any]:
    """Return each seed's scores, and mean and sample standard deviation over the seeds where there are several."""
    made: dict[str, Any] = {
        "seeds": {
            str(seed): {
                **{key: getattr(scores, key) for key in SCORES if getattr(scores, key) is not None},
                "per_class_accuracy": dict(enumerate(scores.per_class_accuracy)),
            }
            for seed, scores in seeds.items()
        }
    }
    for key in SCORES:
        values = [getattr(scores, key) for scores in seeds.values() if getattr(scores, key) is not None]
        if values:
            made[f"{key}_mean"] = statistics.mean(values)
        if len(values) > 1:
            made[f"{key}_std"] = statistics.stdev(values)
    return made


def record(experiment: str, folder: Path, metrics: Mapping[str, Any]) -> None:
    """Add the scores to the MLflow runs that trained the models: each seed's to the child, the rest to the parent."""
    parent = None
    for seed, path in model_files(folder).items():
        trained = find_trained(experiment, path)
        if trained is not None:
            parent = trained.parent
            trained.seed.log(metrics["epochs"], _test_scores(metrics["seeds"][str(seed)], {key: key for key in SCORES}))
    if parent is not None:
        means = {key: f"{key}_mean" for key in SCORES} | {f"{key}_std": f"{key}_std" for key in SCORES}
        together = {"test_ensemble_accuracy": metrics["ensemble"]["accuracy"]} if "ensemble" in metrics else {}
        parent.log(metrics["epochs"], _test_scores(metrics, means) | together)


def _test_scores(values: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, float]:
    return {f"test_{name}": values[column] for name, column in columns.items() if column in values}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    made = parser(__doc__, ("RUN", "a key of `runs` in params.yaml, or <search>-tuned"))
    made.add_argument("--out", metavar="DIR", type=Path, help="a folder that `train --out` filled")
    arguments = made.parse_args(argv)
    params = load_params()
    name = arguments.run
    if arguments.out and not models_in(arguments.out):
        train = f"python -m pipeline.train {name} --out {arguments.out}"
        raise FileNotFoundError(f"--out: {arguments.out}: no trained models; `{train}` makes them")
    target = arguments.out or REPORTS / params.study_of(name) / METRICS
    folder = arguments.out or MODELS / name
    metrics, confusion = evaluate_run(name, folder, params.test_pairs)
    write_whole(target / f"{name}.json", json.dumps(metrics, indent=2) + "\n")
    write_whole(target / f"{name}-confusion.csv", csv_text(confusion))
    if not arguments.out:  # there it lies already
        write_whole(target / f"{name}-history.csv", (folder / "history.csv").read_bytes())
    record(params.tracking.experiment, folder, metrics)
    print(", ".join(f"{key} {metrics[f'{key}_mean']:.4g}" for key in SCORES if f"{key}_mean" in metrics), f"({name})")
    if advice := after_evaluation(metrics, confusion):
        print(f"warning: {name}: {advice}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
